"""One layer of Qwen2 on sampled weights, from embedding to logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stagegate import LLM
from suites.models.random_qwen2 import Dimensions, write_random_qwen2
from suites.parity.engine_logits import prompt_logits
from suites.parity.reference_decoder import ReferenceDecoder

# Seven heads a group and heads of 64, as in the small models of the family.
DIMENSIONS = Dimensions(
    vocab_size=500, hidden_size=448, intermediate_size=900, num_layers=1, num_heads=7,
    num_kv_heads=1,
)  # fmt: skip

# About ten roundings on the way of a value and what softmax makes of them; see
# suites/parity/test_reference.py, which holds whole models to the same.
AMPLIFICATION = 9 * 10**0.5


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_qwen2(tmp_path_factory.mktemp("models") / "layer", DIMENSIONS)


@pytest.mark.criterion("s2.layer")
@pytest.mark.parametrize("length", [1, 5, 130])
def test_layer_agrees_with_float64(
    layer: Path, device: str, dtype: str, length: int, num_threads: int, attention: str
) -> None:
    if attention == "flashinfer" and dtype == "f32":
        pytest.skip("FlashInfer takes f16 and bf16")
    llm = LLM(
        layer, device=device, dtype=dtype, attention_backend=attention, kv_capacity_tokens=256,
        num_threads=num_threads,
    )  # fmt: skip
    prompt = np.random.default_rng(length).integers(0, 500, length).tolist()
    exact = ReferenceDecoder.load(layer).logits(prompt)
    error = np.sqrt(np.mean((prompt_logits(llm, prompt) - exact) ** 2) / np.mean(exact**2))
    unit = {"f32": 2.0**-24, "f16": 2.0**-12, "bf16": 2.0**-9}[dtype]
    assert error <= AMPLIFICATION * unit
