"""Check that tokens are the most likely ones although rounded copies of a model chose them.

Random weights in bf16 have a near tie every few tokens, behind which two right texts have nothing
in common. So no text is compared with another: each token is judged by the exact logits behind the
tokens before it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Text = tuple[int, ...]

# How much larger than that of Hugging Face in bf16 the largest error of the engine's may be; what
# suites/parity/test_true_dimensions.py allows.
RATIO_OF_LARGEST = 1.5


def check_greedy(
    model: Any, prompt_len: int, theirs: Collection[Text], ours: Collection[Text]
) -> None:
    """Assert it of what follows the prompt in each text. model: Hugging Face's, of bf16; then f32.

    Whoever takes token j for the most likely one in place of i errs in both together by as much as
    i is above j, or more. So what may be chosen is bounded by twice the largest error.
    """
    rounded = [next_logits(model, text, prompt_len) for text in theirs]
    model.float()  # the same weights: every bf16 is an f32
    exact = [next_logits(model, text, prompt_len) for text in theirs]
    error = max((a - b).abs().max().item() for a, b in zip(rounded, exact, strict=True))
    for text in {*theirs, *ours}:
        assert worst_choice(model, text, prompt_len) <= 2 * RATIO_OF_LARGEST * error, text


def next_logits(model: Any, text: Text, prompt_len: int) -> torch.Tensor:
    """f32 [N, vocab] behind the prompt and behind each token that follows it but the last."""
    import torch

    tokens = torch.tensor([text[:-1]], device=model.device)
    with torch.inference_mode():
        kept = len(text) - prompt_len
        logits: torch.Tensor = model(tokens, logits_to_keep=kept, use_cache=False).logits
    return logits[0].float()


def worst_choice(model: Any, text: Text, prompt_len: int) -> float:
    """The largest distance in logits between a token of the text and the most likely one."""
    import torch

    logits = next_logits(model, text, prompt_len)
    chosen = torch.tensor(text[prompt_len:], device=model.device)
    of_chosen = logits.gather(1, chosen[:, None])[:, 0]
    return float((logits.max(dim=1).values - of_chosen).max())
