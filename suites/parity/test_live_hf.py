"""Third rung: Hugging Face transformers itself, in the same run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from stagegate import LLM
from suites.parity.conftest import Generate, Model
from suites.parity.engine_logits import prompt_logits
from suites.parity.prompts import NEW_TOKENS, varied_prompts
from suites.parity.reference_decoder import ReferenceDecoder
from suites.parity.schedules import SCHEDULES
from suites.parity.test_reference import NEAR_TIE, relative_error

pytestmark = [
    pytest.mark.parity,
    pytest.mark.requires_hf,
    pytest.mark.criterion("s0.parity", "s4.parity"),
    # Whatever torch and transformers deprecate is not ours to mend.
    pytest.mark.filterwarnings("ignore"),
]


@dataclass(frozen=True)
class Greedy:
    """What Hugging Face chose at each step, and what it could as well have chosen."""

    tokens: list[int]
    near_best: list[set[int]]


@cache
def greedy_of(path: Path, prompts: tuple[tuple[int, ...], ...]) -> list[Greedy]:
    from suites.parity import hugging_face

    model = hugging_face.load(path)
    found = []
    for prompt in prompts:
        tokens, logits = hugging_face.greedy(model, list(prompt), NEW_TOKENS)
        found.append(Greedy(tokens, hugging_face.near_best(logits, NEAR_TIE)))
    return found


def check_equal(tokens: list[list[int]], theirs: list[Greedy]) -> None:
    """Assert that the tokens are theirs, up to a near tie decided otherwise: behind it both go on
    with another text.
    """
    for ours, greedy in zip(tokens, theirs, strict=True):
        assert len(ours) == len(greedy.tokens) == NEW_TOKENS
        for step, (token, expected) in enumerate(zip(ours, greedy.tokens, strict=True)):
            if token != expected:
                assert token in greedy.near_best[step], (step, ours, greedy.tokens)
                break


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_greedy_tokens(
    model: Model, generate: Generate, kv_layout: str, attention_backend: str, schedule: str
) -> None:
    theirs = greedy_of(model.path, tuple(map(tuple, model.prompts)))
    check_equal(generate(model.path, model.prompts, kv_layout, attention_backend, schedule), theirs)


def test_greedy_tokens_of_varied_prompts(
    model_path: Path, generate: Generate, kv_layout: str, attention_backend: str
) -> None:
    """Chinese, code, emoji and combining marks, from one token to hundreds, in one batch."""
    prompts = varied_prompts(model_path)
    theirs = greedy_of(model_path, tuple(map(tuple, prompts)))
    check_equal(generate(model_path, prompts, kv_layout, attention_backend, "mixed"), theirs)


def test_only_a_near_tie_may_be_decided_otherwise() -> None:
    theirs = [Greedy(list(range(NEW_TOKENS)), [{step} for step in range(NEW_TOKENS)])]
    theirs[0].near_best[5].add(99)
    check_equal([list(range(NEW_TOKENS))], theirs)
    check_equal([[0, 1, 2, 3, 4, 99, *[7] * (NEW_TOKENS - 6)]], theirs)
    for wrong in ([0, 1, 2, 3, 99], [0, 1, 2, 3, 4, 98]):
        with pytest.raises(AssertionError):
            check_equal([wrong + list(range(len(wrong), NEW_TOKENS))], theirs)
    with pytest.raises(AssertionError):
        check_equal([list(range(NEW_TOKENS - 1))], theirs)


@pytest.mark.criterion("s4.logits")
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_16_bit_error_is_no_larger_than_theirs(
    model: Model, device: str, dtype: str, num_threads: int
) -> None:
    import torch

    from suites.parity import hugging_face

    reference = ReferenceDecoder.load(model.path)
    theirs = hugging_face.load(model.path, {"f16": torch.float16, "bf16": torch.bfloat16}[dtype])
    ours = LLM(
        model.path, device=device, dtype=dtype, kv_capacity_tokens=512, num_threads=num_threads
    )
    errors = {"ours": 0.0, "theirs": 0.0}
    for prompt in model.prompts:
        exact = reference.logits(prompt)
        with torch.inference_mode():
            logits = theirs(torch.tensor([prompt])).logits[0].float().numpy()
        errors["theirs"] = max(errors["theirs"], relative_error(logits, exact))
        errors["ours"] = max(errors["ours"], relative_error(prompt_logits(ours, prompt), exact))
    # Two roundings of the same computation; the worst of eight prompts varies by a tenth.
    assert errors["ours"] <= 1.25 * errors["theirs"]


def test_the_reference_is_the_same_model(model: Model) -> None:
    import torch

    from suites.parity import hugging_face

    [prompt] = [prompt for prompt in model.prompts if len(prompt) == max(map(len, model.prompts))]
    with torch.inference_mode():
        theirs = hugging_face.load(model.path, torch.float64)(torch.tensor([prompt])).logits[0]
    ours = ReferenceDecoder.load(model.path).logits(prompt)
    # transformers computes the rotary angles in f32 whatever the dtype of the model.
    np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-3, rtol=0)
