"""Logits beside those of Hugging Face, on random weights with the dimensions of published models.

Both are given the same tokens. What is exact is Hugging Face in f32; how far rounding alone leads
away from that is measured on Hugging Face in bf16, and the engine in bf16 may be a little farther.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from stagegate import EngineConfig
from stagegate.config import KV_LAYOUTS
from stagegate.models.registry import load_model_config
from suites.models.random_qwen2 import LARGE, PRESETS, write_random_qwen2
from suites.parity.forced_decode import ForcedEngine

if TYPE_CHECKING:
    import torch

DECODE_STEPS = 64
NUM_TEXTS = 64

# Prompts of these lengths in turn. The small model is trained for 1024 positions.
LENGTHS = (1, 17, 128, 1000, 2048, 64, 333, 512)
SMALL_LENGTHS = (1, 17, 128, 600, 300, 64, 5, 33)

# Two roundings of the same computation, in different order: their errors are alike in size, not
# equal. On a CPU with the dimensions of Qwen2-0.5B the engine's is 0.87 to 0.89 of theirs. The
# largest of millions of errors varies more than their mean.
RATIO = 1.25
RATIO_OF_LARGEST = 1.5

# Root mean square of the difference of two f32 computations over that of the logits. Mostly the
# angles of the rotary embedding, which transformers computes in f32: at position 2048 half a unit
# in the last place of a frequency is 1e-4 of an angle. There, 1000 tokens are 2e-5 apart.
F32_ERROR = 1e-4

pytestmark = [
    pytest.mark.parity,
    pytest.mark.requires_hf,
    # Whatever torch and transformers deprecate is not ours to mend.
    pytest.mark.filterwarnings("ignore"),
]

LOGITS = pytest.mark.criterion("s4.logits")
LOGITS_7B = pytest.mark.criterion("s4.logits-7b")
MODELS = [
    pytest.param("group-7", marks=LOGITS),
    pytest.param("qwen2-1.5b", marks=[LOGITS, pytest.mark.requires_gpu]),
    pytest.param("qwen2-7b", marks=[LOGITS_7B, pytest.mark.requires_gpu, pytest.mark.large]),
]


@dataclass
class Distance:
    """Of logits from the exact ones, over any number of rows."""

    squared_error: float = 0.0
    squared: float = 0.0
    largest: float = 0.0
    rows: int = 0

    def add(self, logits: torch.Tensor, exact: torch.Tensor) -> None:
        import torch

        error = logits.float() - exact
        self.squared_error += error.square().sum(dtype=torch.float64).item()
        self.squared += exact.square().sum(dtype=torch.float64).item()
        self.largest = max(self.largest, error.abs().max().item())
        self.rows += len(error)

    @property
    def relative(self) -> float:
        """Root mean square of the error over that of the logits."""
        return math.sqrt(self.squared_error / self.squared)


@dataclass
class Reference:
    """What Hugging Face makes of the texts.

    exact: logits f32 [DECODE_STEPS + 1, vocab] of each text, behind its prompt and each new token.
    bf16: by length of the prompt, how far its logits in bf16 are from those.
    """

    path: Path
    prompt_lens: list[int]
    texts: list[list[int]]
    exact: list[torch.Tensor]
    bf16: dict[int, Distance]


@pytest.fixture(scope="module", params=KV_LAYOUTS)
def kv_layout(request: pytest.FixtureRequest) -> str:
    """The harness has it for the whole run, which would start every model once a layout."""
    return str(request.param)


@pytest.fixture(scope="module", params=MODELS)
def reference(
    request: pytest.FixtureRequest, device: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reference]:
    import torch

    from suites.parity import hugging_face

    preset = str(request.param)
    path = write_random_qwen2(tmp_path_factory.mktemp("models") / preset, PRESETS[preset])
    lengths = LENGTHS if preset in LARGE else SMALL_LENGTHS
    prompt_lens = [lengths[index % len(lengths)] for index in range(NUM_TEXTS)]
    texts = draw_texts(prompt_lens, PRESETS[preset].vocab_size)
    model = hugging_face.load(path, torch.bfloat16).to(device)
    rounded = last_logits(model, prompt_lens, texts, device)
    model = model.float()  # the same weights: every bf16 is an f32
    exact = last_logits(model, prompt_lens, texts, device)
    del model
    bf16: dict[int, Distance] = defaultdict(Distance)
    for length, theirs, expected in zip(prompt_lens, rounded, exact, strict=True):
        bf16[length].add(theirs, expected)
    del rounded
    if device == "cuda":
        torch.cuda.empty_cache()
    yield Reference(path, prompt_lens, texts, exact, bf16)
    for file in path.iterdir():  # gigabytes, which pytest would keep for three runs
        file.unlink()


def draw_texts(prompt_lens: Sequence[int], vocab_size: int) -> list[list[int]]:
    """Random tokens, no two texts with the same one at a position; one more than is fed."""
    longest = max(prompt_lens) + DECODE_STEPS + 1
    first = np.random.default_rng(0).integers(0, vocab_size, longest)
    apart = vocab_size // len(prompt_lens)
    return [
        ((first[: length + DECODE_STEPS + 1] + index * apart) % vocab_size).tolist()
        for index, length in enumerate(prompt_lens)
    ]


def last_logits(
    model: torch.nn.Module, prompt_lens: Sequence[int], texts: list[list[int]], device: str
) -> list[torch.Tensor]:
    """Of each text, the rows of Reference.exact, from one pass over the whole text.

    Attention is causal, so that is what decoding token by token would give, up to rounding.
    """
    import torch

    logits: list[torch.Tensor | None] = [None] * len(texts)
    for length in sorted(set(prompt_lens)):
        members = [index for index, other in enumerate(prompt_lens) if other == length]
        batch = torch.tensor([texts[index][:-1] for index in members], device=device)
        with torch.inference_mode():
            rows = model(batch, logits_to_keep=DECODE_STEPS + 1, use_cache=False).logits
        for index, of_text in zip(members, rows, strict=True):
            logits[index] = of_text.clone()
    return logits


def start(
    path: Path,
    device: str,
    kv_layout: str,
    dtype: str,
    num_threads: int,
    attention_backend: str = "native",
) -> ForcedEngine:
    room = NUM_TEXTS * (sum(LENGTHS) // len(LENGTHS) + DECODE_STEPS + 32)
    return ForcedEngine(
        EngineConfig(
            model=path, device=device, dtype=dtype, kv_layout=kv_layout, num_threads=num_threads,
            kv_capacity_tokens=room, max_num_seqs=NUM_TEXTS, enable_prefix_cache=False,
            attention_backend=attention_backend,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def bf16_engine(
    reference: Reference, device: str, kv_layout: str, num_threads: int, attention: str
) -> ForcedEngine:
    attention_backend = attention if kv_layout == "block" else "csr"
    head_dim = load_model_config(reference.path).decoder.head_dim
    if attention_backend == "flashinfer" and head_dim not in (64, 128):
        pytest.skip(f"FlashInfer has heads of 64 and 128, this model one of {head_dim}")
    return start(reference.path, device, kv_layout, "bf16", num_threads, attention_backend)


def batches(batch: int) -> list[range]:
    """Which texts run together: of one text, one of each length in turn."""
    return [range(index, index + 1) for index in range(8)] if batch == 1 else [range(batch)]


def distances(
    engine: ForcedEngine, reference: Reference, together: list[range], device: str
) -> dict[int, Distance]:
    """By length of the prompt."""
    import torch

    found: dict[int, Distance] = defaultdict(Distance)
    for chosen in together:

        def receive(
            places: list[tuple[int, int]],
            logits: npt.NDArray[np.float32],
            chosen: range = chosen,
        ) -> None:
            ours = torch.from_numpy(logits).to(device)
            for row, (place, position) in zip(ours, places, strict=True):
                text = chosen[place]
                length = reference.prompt_lens[text]
                found[length].add(row[None], reference.exact[text][position - length + 1][None])

        engine.run([reference.texts[text] for text in chosen], DECODE_STEPS + 1, receive)
    lengths = [reference.prompt_lens[text] for chosen in together for text in chosen]
    for length, distance in found.items():
        assert distance.rows == (DECODE_STEPS + 1) * lengths.count(length)
    assert found.keys() == set(lengths)
    return found


@pytest.mark.parametrize("batch", [1, 8, 64])
def test_bf16_error_is_that_of_rounding(
    bf16_engine: ForcedEngine, reference: Reference, batch: int, device: str
) -> None:
    found = distances(bf16_engine, reference, batches(batch), device)
    for length, ours in sorted(found.items()):
        theirs = reference.bf16[length]
        print(
            f"\nprompt of {length:4}: relative {ours.relative:.2e}, theirs {theirs.relative:.2e}; "
            f"largest {ours.largest:.3f}, theirs {theirs.largest:.3f}",
            end="",
        )
        assert ours.relative <= RATIO * theirs.relative, length
        assert ours.largest <= RATIO_OF_LARGEST * theirs.largest, length


@pytest.mark.parametrize("reference", MODELS[:2], indirect=True)
def test_f32_agrees(reference: Reference, device: str, kv_layout: str, num_threads: int) -> None:
    engine = start(reference.path, device, kv_layout, "f32", num_threads)
    for together in (batches(1), batches(8)):
        for length, ours in sorted(distances(engine, reference, together, device).items()):
            print(f"\nprompt of {length:4}: relative {ours.relative:.2e}", end="")
            assert ours.relative <= F32_ERROR, length
