"""Flags of the decoder that no architecture of the registry sets: norms of q and k, no bias, scaled
rotary frequencies. Each is held against a model of Hugging Face that has it, and against float64.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stagegate import LLM, SamplingParams
from stagegate.models import qwen2, registry
from stagegate.models.architecture import Architecture, WeightNames
from stagegate.models.decoder_config import DecoderConfig, RopeScaling
from stagegate.models.json_object import JsonObject
from suites.models.random_qwen2 import TOKENIZER
from suites.parity.engine_logits import prompt_logits
from suites.parity.reference_decoder import ReferenceDecoder

pytestmark = [pytest.mark.parity, pytest.mark.requires_hf]

DIMENSIONS = {
    "vocab_size": 512, "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 3,
    "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16,
    "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
# The slowest frequencies turn less than once within 64 positions, the fastest often.
SCALING = RopeScaling(
    factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_positions=64
)
THETA = 1e4
NEW_TOKENS = 24
# As in test_reference.
NEAR_TIE = 2e-4


def qwen3(config: dict[str, Any]) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**config))


def llama(config: dict[str, Any]) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**config))


ROPE_PARAMETERS = {
    "rope_type": "llama3", "rope_theta": THETA, "factor": SCALING.factor,
    "low_freq_factor": SCALING.low_freq_factor, "high_freq_factor": SCALING.high_freq_factor,
    "original_max_position_embeddings": SCALING.original_max_positions,
}  # fmt: skip
# The model of Hugging Face, keys of its configuration, and flags of the decoder that it is.
VARIANTS: dict[str, tuple[Callable[[dict[str, Any]], Any], dict[str, Any], dict[str, Any]]] = {
    "norms of q and k": (qwen3, {}, {"qkv_bias": False, "qk_norm": True}),
    "norms of q and k, and a bias": (
        qwen3, {"attention_bias": True}, {"qkv_bias": True, "qk_norm": True},
    ),
    "no bias": (llama, {}, {"qkv_bias": False}),
    "scaled frequencies": (
        llama,
        {"rope_parameters": ROPE_PARAMETERS},
        {"qkv_bias": False, "rope_scaling": SCALING},
    ),
    "scaled frequencies, tied head": (
        llama,
        {"rope_parameters": ROPE_PARAMETERS, "tie_word_embeddings": True},
        {"qkv_bias": False, "rope_scaling": SCALING, "tie_word_embeddings": True},
    ),
}  # fmt: skip


def names_with_head_norms(config: DecoderConfig) -> WeightNames:
    norms = {
        f"layers.{index}.{name}_norm": (f"model.layers.{index}.self_attn.{name}_norm.weight",)
        for index in range(config.num_layers)
        for name in "qk"
    }
    return {**qwen2.weight_names(config), **norms}


def architecture(name: str, flags: dict[str, Any]) -> Architecture:
    def parse_config(stated: JsonObject) -> DecoderConfig:
        decoder = DecoderConfig(
            vocab_size=stated.integer("vocab_size", at_least=1),
            hidden_size=stated.integer("hidden_size", at_least=1),
            intermediate_size=stated.integer("intermediate_size", at_least=1),
            num_layers=stated.integer("num_hidden_layers", at_least=1),
            num_heads=stated.integer("num_attention_heads", at_least=1),
            num_kv_heads=stated.integer("num_key_value_heads", at_least=1),
            head_dim=stated.integer("head_dim", at_least=1),
            max_position_embeddings=stated.integer("max_position_embeddings", at_least=1),
            rms_norm_eps=stated.number("rms_norm_eps"),
            rope_theta=THETA,
            rope_scaling=None,
            qkv_bias=False,
            qk_norm=False,
            tie_word_embeddings=False,
        )
        return replace(decoder, **flags)

    return Architecture(name, "variant", frozenset(DIMENSIONS), parse_config, names_with_head_norms)


def randomize(model: Any) -> None:
    """Weights as random_qwen2 has them, so that greedy choices have a margin."""
    import torch

    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            if name.endswith("norm.weight"):
                parameter.copy_(1 + 0.3 * drawn)
            elif name.endswith("bias"):
                parameter.copy_(drawn)
            elif "embed" in name or "lm_head" in name:
                parameter.copy_(0.5 * drawn)
            else:
                parameter.copy_(2 * drawn / parameter.shape[1] ** 0.5)


@pytest.fixture(params=VARIANTS)
def variant(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Any]:
    """A checkpoint of the variant, which the engine can read during the test, and the model."""
    make, keys, flags = VARIANTS[request.param]
    stated = {
        **DIMENSIONS, "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
        "tie_word_embeddings": False, **keys,
    }  # fmt: skip
    model = make(stated).eval()
    for layer in model.model.layers:
        # Hugging Face has one wherever q, k and v have one; the decoder does not.
        layer.self_attn.o_proj.bias = None
    randomize(model)
    folder = tmp_path / "variant"
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / file, folder / file)
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"eos_token": None}))
    name = type(model).__name__
    monkeypatch.setitem(registry.ARCHITECTURES, name, architecture(name, flags))
    return folder, model


def prompts() -> list[list[int]]:
    random = np.random.default_rng(2)
    return [random.integers(3, 512, length).tolist() for length in (1, 7, 90, 130)]


def test_greedy_tokens_are_those_of_hugging_face(
    variant: tuple[Path, Any], device: str, kv_layout: str
) -> None:
    from suites.parity import hugging_face

    folder, model = variant
    llm = LLM(folder, device=device, dtype="f32", kv_layout=kv_layout, kv_capacity_tokens=1024)
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True)
    outputs = llm.generate(prompts(), params)
    for prompt, output in zip(prompts(), outputs, strict=True):
        tokens, logits = hugging_face.greedy(model, prompt, NEW_TOKENS)
        assert hugging_face.smallest_margin(logits) > NEAR_TIE
        assert output.outputs[0].token_ids == tokens


def relative_error(logits: np.ndarray, exact: np.ndarray) -> float:
    return float(np.sqrt(np.mean((logits - exact) ** 2) / np.mean(exact**2)))


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_logits_agree_with_float64(variant: tuple[Path, Any], device: str, dtype: str) -> None:
    import torch

    folder, model = variant
    prompt = prompts()[-1]
    exact = ReferenceDecoder.load(folder).logits(prompt)
    with torch.inference_mode():
        theirs = model.double()(torch.tensor([prompt])).logits[0].numpy()
    # Theirs keeps norms and rotations in f32, whatever the rest is in.
    assert relative_error(theirs, exact) < 1e-5
    llm = LLM(folder, device=device, dtype=dtype, kv_capacity_tokens=256)
    # Ten roundings a layer, as in test_reference, and what layers amplify an error by.
    assert (
        relative_error(prompt_logits(llm, prompt), exact)
        <= 9 * {"f32": 2.0**-24, "f16": 2.0**-12, "bf16": 2.0**-9}[dtype] * 30**0.5
    )
