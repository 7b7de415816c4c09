"""Third rung: Hugging Face transformers itself, in the same run."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from engine import LLM
from suites.parity.conftest import Generate, Model
from suites.parity.engine_logits import prompt_logits
from suites.parity.prompts import NEW_TOKENS
from suites.parity.reference_qwen2 import ReferenceQwen2
from suites.parity.schedules import SCHEDULES
from suites.parity.test_reference import relative_error

pytestmark = [
    pytest.mark.parity,
    pytest.mark.requires_hf,
    pytest.mark.criterion("s0.parity", "s4.parity"),
    # Whatever torch and transformers deprecate is not ours to mend.
    pytest.mark.filterwarnings("ignore"),
]


@cache
def expected_tokens(path: Path, prompts: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    from suites.parity import hugging_face

    model = hugging_face.load(path)
    runs = [hugging_face.greedy(model, list(prompt), NEW_TOKENS) for prompt in prompts]
    # Two f32 computations differ by about 1e-4 in a logit of these models; without a margin above
    # that the comparison would be a matter of luck.
    assert min(hugging_face.smallest_margin(logits) for _, logits in runs) > 2e-4
    return [tokens for tokens, _ in runs]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_greedy_tokens(
    model: Model, generate: Generate, layout: str, backend: str, schedule: str
) -> None:
    expected = expected_tokens(model.path, tuple(map(tuple, model.prompts)))
    assert generate(model.path, layout, backend, schedule) == expected


@pytest.mark.criterion("s4.logits")
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_16_bit_error_is_no_larger_than_theirs(
    model: Model, device: str, dtype: str, num_threads: int
) -> None:
    import torch

    from suites.parity import hugging_face

    reference = ReferenceQwen2.load(model.path)
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
    ours = ReferenceQwen2.load(model.path).logits(prompt)
    # transformers computes the rotary angles in f32 whatever the dtype of the model.
    np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-3, rtol=0)
