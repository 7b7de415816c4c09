"""First rung: recorded outputs of Hugging Face, which need neither torch nor transformers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stagegate import LLM
from suites.parity.conftest import Generate
from suites.parity.engine_logits import prompt_logits
from suites.parity.schedules import SCHEDULES

RECORDED = Path(__file__).parent / "recorded"

pytestmark = [
    pytest.mark.parity,
    pytest.mark.tiny_model,
    pytest.mark.criterion("s0.parity", "s4.parity"),
]


@pytest.fixture(scope="module")
def recording(model_path: Path) -> dict[str, Any]:
    recording: dict[str, Any] = json.loads((RECORDED / "tiny-qwen2.json").read_text())
    digest = hashlib.sha256((model_path / "model.safetensors").read_bytes()).hexdigest()
    assert recording["provenance"]["model_sha256"] == digest, (
        "the checkpoint changed: python -m suites.parity.record_hf"
    )
    return recording


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_greedy_tokens(
    recording: dict[str, Any],
    model_path: Path,
    generate: Generate,
    kv_layout: str,
    attention_backend: str,
    schedule: str,
) -> None:
    assert len(recording["tokens"][0]) >= 64
    tokens = generate(model_path, recording["prompts"], kv_layout, attention_backend, schedule)
    assert tokens == recording["tokens"]


def test_logits(recording: dict[str, Any], model_path: Path, device: str, num_threads: int) -> None:
    expected = np.load(RECORDED / "tiny-qwen2-logits.npy")
    llm = LLM(
        model_path, device=device, dtype="f32", kv_capacity_tokens=512, num_threads=num_threads
    )
    for prompt, row in zip(recording["prompts"], expected, strict=True):
        # Two f32 computations in different order; logits reach 30, so 1e-3 is 3e-5 of the largest.
        np.testing.assert_allclose(prompt_logits(llm, prompt)[-1], row, atol=1e-3, rtol=0)
