"""The check finds one wrong token among tokens that rounding chose correctly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from suites.models.random_qwen2 import PRESETS, write_random_qwen2
from suites.offline.greedy_choice import check_greedy

PROMPT_LEN = 5

pytestmark = [
    pytest.mark.requires_hf,
    # Whatever torch and transformers deprecate is not ours to mend.
    pytest.mark.filterwarnings("ignore"),
]


def test_a_wrong_token_is_found(tmp_path: Path) -> None:
    import torch

    from suites.parity import hugging_face

    path = write_random_qwen2(tmp_path / "group-7", PRESETS["group-7"])
    model = hugging_face.load(path, torch.bfloat16)
    prompts = np.random.default_rng(0).integers(3, 512, (4, PROMPT_LEN)).tolist()
    answers = [hugging_face.greedy(model, prompt, 24) for prompt in prompts]
    texts = [(*prompt, *tokens) for prompt, (tokens, _) in zip(prompts, answers, strict=True)]
    check_greedy(model, PROMPT_LEN, texts, texts)

    # The last token of one text becomes the hundredth in likelihood.
    [*right, last] = texts
    unlikely = int(np.argsort(answers[-1][1][-1])[-100])
    model = hugging_face.load(path, torch.bfloat16)
    with pytest.raises(AssertionError, match=str(unlikely)):
        check_greedy(model, PROMPT_LEN, texts, [*right, (*last[:-1], unlikely)])
