"""config.json and generation_config.json: what is read, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ModelError
from engine.models.generation_config import GenerationConfig
from engine.models.registry import load_model_config

# As the 0.5B model of the family states it.
STATED: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 896,
    "initializer_range": 0.02,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "max_window_layers": 21,
    "model_type": "qwen2",
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.43.1",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}


def write(folder: Path, **changes: Any) -> Path:
    """config.json with some values changed; ... leaves a key out."""
    stated = {key: value for key, value in {**STATED, **changes}.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(stated))
    return folder


def test_the_real_thing(tmp_path: Path) -> None:
    config = load_model_config(write(tmp_path))
    assert (config.num_heads, config.num_kv_heads, config.head_dim) == (14, 2, 64)
    assert (config.dtype, config.rope_theta, config.eos_token_ids) == ("bf16", 1e6, (151645,))
    shapes = config.tensor_shapes()
    assert len(shapes) == 24 * 12 + 2  # tied: no head of its own
    assert shapes["model.layers.23.self_attn.k_proj.bias"] == (128,)


@pytest.mark.parametrize(
    ("changes", "attribute", "value"),
    [
        ({"head_dim": 32}, "head_dim", 32),
        ({"eos_token_id": [5, 7, 5]}, "eos_token_ids", (5, 7)),
        ({"eos_token_id": None}, "eos_token_ids", ()),
        ({"rope_scaling": None}, "rope_theta", 1e6),
        (
            {"rope_theta": ..., "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
            "rope_theta",
            5e5,
        ),
        ({"torch_dtype": ..., "dtype": "float16"}, "dtype", "f16"),
        ({"layer_types": ["full_attention"] * 24}, "num_layers", 24),
        ({"tie_word_embeddings": ...}, "tie_word_embeddings", False),
    ],
)
def test_spellings(tmp_path: Path, changes: dict[str, Any], attribute: str, value: object) -> None:
    assert getattr(load_model_config(write(tmp_path, **changes)), attribute) == value


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "LlamaForCausalLM.*Qwen2ForCausalLM"),
        ({"architectures": ...}, "architectures"),
        ({"model_type": "qwen2_moe"}, "qwen2_moe"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_scaling.*yarn"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2}}, "rope_parameters.*linear"),
        ({"rope_parameters": {"rope_theta": 3.0}}, "contradicting"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"layer_types": ["sliding_attention"] * 24}, "layer_types.*sliding_attention"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config.*awq"),
        ({"hidden_act": "gelu"}, "hidden_act.*gelu"),
        ({"attention_bias": False}, "attention_bias"),
        ({"num_key_value_heads": 4}, "num_key_value_heads"),
        ({"num_key_value_heads": 0}, "num_key_value_heads"),
        ({"head_dim": 63}, "head_dim.*63"),
        ({"hidden_size": 895}, "hidden_size.*895"),
        ({"num_hidden_layers": "24"}, "num_hidden_layers.*'24'"),
        ({"rms_norm_eps": 0}, "rms_norm_eps"),
        ({"rope_theta": ...}, "rope_theta"),
        ({"torch_dtype": "int8"}, "torch_dtype.*int8"),
        ({"eos_token_id": 151936}, "eos_token_id"),
        ({"vocab_size": True}, "vocab_size"),
        ({"hidden_size": ...}, "hidden_size"),
    ],
)
def test_refusals_name_key_and_value(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_model_config(write(tmp_path, **changes))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1, "a": 2}', '{"a": NaN}', "\udcff"])
def test_broken_json(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, errors="surrogateescape")
    with pytest.raises(ModelError, match=r"config\.json"):
        load_model_config(tmp_path)


def test_generation_defaults(tmp_path: Path) -> None:
    assert GenerationConfig.read(tmp_path) == GenerationConfig()
    (tmp_path / "generation_config.json").write_text(
        json.dumps(
            {
                "do_sample": True,
                "eos_token_id": [151645, 151643],
                "repetition_penalty": 1.1,
                "temperature": 0.7,
                "top_k": 20,
                "top_p": 0.8,
            }
        )
    )
    config = GenerationConfig.read(tmp_path)
    assert (config.temperature, config.top_k, config.top_p) == (0.7, 20, 0.8)
    assert (config.repetition_penalty, config.eos_token_ids) == (1.1, (151645, 151643))


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"temperature": -1}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": 2.5}, "top_k"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"do_sample": "yes"}, "do_sample"),
        ({"eos_token_id": "x"}, "eos_token_id"),
    ],
)
def test_bad_generation_defaults(tmp_path: Path, stated: dict[str, Any], words: str) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(stated))
    with pytest.raises(ModelError, match=words):
        GenerationConfig.read(tmp_path)


def test_not_sampling_is_greedy(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"do_sample": false, "temperature": 0.7}')
    assert GenerationConfig.read(tmp_path).temperature == 0
