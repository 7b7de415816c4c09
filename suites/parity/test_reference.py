"""Second rung: a float64 reference, which serves any model."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from engine import LLM
from suites.parity.conftest import Generate, Model
from suites.parity.engine_logits import prompt_logits
from suites.parity.reference_qwen2 import ReferenceQwen2
from suites.parity.schedules import SCHEDULES

pytestmark = [pytest.mark.parity, pytest.mark.criterion("s0.parity", "s4.parity")]

# In float64 a larger model takes more memory and time than a test should.
_LARGEST_BYTES = 200_000_000


@cache
def load_reference(path: Path) -> ReferenceQwen2:
    size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    if size > _LARGEST_BYTES:
        pytest.skip(f"{path.name} has {size} bytes of weights, too many for the float64 reference")
    return ReferenceQwen2.load(path)


def relative_error(logits: npt.NDArray[np.float32], exact: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean((logits - exact) ** 2) / np.mean(exact**2)))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_greedy_tokens(
    model: Model, generate: Generate, layout: str, backend: str, schedule: str
) -> None:
    reference = load_reference(model.path)
    for prompt, tokens in zip(
        model.prompts, generate(model.path, layout, backend, schedule), strict=True
    ):
        # If every token is the most likely one behind those before it, the whole is greedy.
        logits = reference.logits(prompt + tokens[:-1])[len(prompt) - 1 :]
        assert np.argmax(logits, axis=-1).tolist() == tokens


# How far logits may be from exact ones, as a share of their size (both root mean square).
# A value is rounded about ten times a layer on its way through the residual stream (norm, merged
# projection, rope, attention, output projection, sum, norm, merged projection, swiglu, down
# projection), each time by up to u of itself: 2^-9 in bf16, 2^-12 in f16, 2^-24 in f32.
# Independent errors add in quadrature, to u · sqrt(10 · layers). What comes on top is how much the
# layers amplify an error: softmax turns an absolute error of a score into a relative one of a
# weight. The trained model has small scores; in the random ones, with key biases of 8, they reach
# hundreds. Hugging Face's error in the same dtype is as large: see test_live_hf.
_UNIT_ROUNDOFF = {"f32": 2.0**-24, "f16": 2.0**-12, "bf16": 2.0**-9}
_AMPLIFICATION = {"checkpoint": 3.0}
_AMPLIFICATION_OF_RANDOM_WEIGHTS = 9.0


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_logits(model: Model, device: str, dtype: str, num_threads: int) -> None:
    reference = load_reference(model.path)
    llm = LLM(
        model.path, device=device, dtype=dtype, kv_capacity_tokens=512, num_threads=num_threads
    )
    amplification = _AMPLIFICATION.get(model.name, _AMPLIFICATION_OF_RANDOM_WEIGHTS)
    bound = amplification * _UNIT_ROUNDOFF[dtype] * (10 * llm.engine.model.num_layers) ** 0.5
    for prompt in model.prompts:
        exact = reference.logits(prompt)
        assert relative_error(prompt_logits(llm, prompt), exact) <= bound
