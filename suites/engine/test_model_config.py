"""config.json: what is read, and what is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stagegate.errors import ModelError
from stagegate.models.registry import load_model_config
from stagegate.models.tensor_map import TensorMap

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


SLIDING: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 4096}


def write(folder: Path, **changes: Any) -> Path:
    """config.json with some values changed; ... leaves a key out."""
    stated = {key: value for key, value in {**STATED, **changes}.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(stated))
    return folder


def test_the_real_thing(tmp_path: Path) -> None:
    config = load_model_config(write(tmp_path))
    decoder = config.decoder
    assert (decoder.num_heads, decoder.num_kv_heads, decoder.head_dim) == (14, 2, 64)
    assert (config.dtype, decoder.rope_theta, config.eos_token_ids) == ("bf16", 1e6, (151645,))
    assert (decoder.qkv_bias, decoder.qk_norm, decoder.rope_scaling) == (True, False, None)
    shapes = TensorMap.of(config).shapes
    assert len(shapes) == 24 * 12 + 2  # tied: no head of its own
    assert shapes["model.layers.23.self_attn.k_proj.bias"] == (128,)


def test_a_weight_without_names_is_refused(tmp_path: Path) -> None:
    config = load_model_config(write(tmp_path))
    normed = replace(config, decoder=replace(config.decoder, qk_norm=True))
    words = r"Qwen2ForCausalLM: weight 'layers\.0\.q_norm' has 1 parts, but weight_names gives \[\]"
    with pytest.raises(ValueError, match=words):
        TensorMap.of(normed)


@pytest.mark.parametrize(
    ("changes", "attribute", "value"),
    [
        ({"head_dim": 32}, "head_dim", 32),
        ({"architectures": ...}, "num_layers", 24),
        ({"architectures": None}, "num_layers", 24),
        ({"model_type": ...}, "num_layers", 24),
        ({"hidden_act": ...}, "num_layers", 24),
        ({"hidden_act": "swish"}, "num_layers", 24),
        ({"vocab_size": ...}, "vocab_size", 151936),
        ({"max_position_embeddings": None}, "max_position_embeddings", 32768),
        ({"rms_norm_eps": ...}, "rms_norm_eps", 1e-6),
        ({"num_key_value_heads": None}, "num_kv_heads", 14),
        (
            {"num_attention_heads": 64, "head_dim": 14, "num_key_value_heads": ...},
            "num_kv_heads",
            32,
        ),
        ({"eos_token_id": [5, 7, 5]}, "eos_token_ids", (5, 7)),
        ({"eos_token_id": None}, "eos_token_ids", ()),
        ({"rope_scaling": None}, "rope_theta", 1e6),
        ({"rope_theta": 500000}, "rope_theta", 5e5),
        ({"rope_theta": ...}, "rope_theta", 1e4),
        ({"rope_theta": None}, "rope_theta", 1e4),
        ({"rope_theta": ..., "rope_parameters": {}}, "rope_theta", 1e4),
        ({"rope_theta": 3.0, "rope_scaling": {"type": "default"}}, "rope_theta", 3.0),
        (
            {"rope_theta": ..., "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
            "rope_theta",
            5e5,
        ),
        ({"torch_dtype": ..., "dtype": "float16"}, "dtype", "f16"),
        ({"torch_dtype": None, "dtype": "float32"}, "dtype", "f32"),
        ({"layer_types": ["full_attention"] * 24}, "num_layers", 24),
        ({"layer_types": ["full_attention"] * 24, **SLIDING}, "num_layers", 24),
        # Sliding windows that hide nothing: none, over no layer, as long as the longest text.
        ({**SLIDING, "sliding_window": None}, "num_layers", 24),
        ({**SLIDING, "max_window_layers": 24}, "num_layers", 24),
        ({**SLIDING, "max_window_layers": ...}, "num_layers", 24),
        ({**SLIDING, "sliding_window": 32768}, "num_layers", 24),
        ({**SLIDING, "use_sliding_window": ...}, "num_layers", 24),
        ({"tie_word_embeddings": ...}, "tie_word_embeddings", False),
    ],
)
def test_spellings(tmp_path: Path, changes: dict[str, Any], attribute: str, value: object) -> None:
    config = load_model_config(write(tmp_path, **changes))
    found = config if hasattr(config, attribute) else config.decoder
    assert getattr(found, attribute) == value


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "LlamaForCausalLM.*Qwen2ForCausalLM"),
        ({"architectures": "Qwen2ForCausalLM"}, "architectures"),
        ({"architectures": []}, r"architectures = \[\]"),
        ({"model_type": "qwen2_moe"}, "qwen2_moe"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_scaling.*yarn"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2}}, "rope_parameters.*linear"),
        ({"rope_parameters": {"rope_theta": 3.0}}, "contradicting"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_parameters": "default"}, "rope_parameters.*an object"),
        ({"rope_theta": -1.0}, r"rope_theta = -1\.0"),
        ({"rope_theta": 0}, "rope_theta = 0"),
        ({"rope_theta": "10000"}, "rope_theta = '10000'"),
        (
            {"rope_parameters": {"rope_theta": 1e6}, "rope_scaling": {"type": "default"}},
            "rope_scaling.*rope_parameters says the same",
        ),
        ({"partial_rotary_factor": 0.5}, r"partial_rotary_factor = 0\.5"),
        ({"per_layer_config": {"0": {"num_attention_heads": 7}}}, "per_layer_config"),
        ({"mlp_bias": True}, "mlp_bias"),
        (SLIDING, "use_sliding_window.*the layers from 21 on would see only 4096 tokens"),
        ({**SLIDING, "sliding_window": ...}, "would see only 4096 tokens"),
        ({**SLIDING, "max_window_layers": 0}, "the layers from 0 on"),
        ({"use_sliding_window": 1}, "use_sliding_window = 1"),
        ({"layer_types": ["sliding_attention"] * 24}, "layer_types.*sliding_attention"),
        ({"layer_types": ["full_attention"] * 23}, "layer_types.*24 layers"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config.*awq"),
        ({"hidden_act": "gelu"}, "hidden_act.*gelu"),
        ({"attention_bias": False}, "attention_bias"),
        ({"attention_bias": 1}, "attention_bias"),
        ({"num_key_value_heads": ...}, "num_key_value_heads = None: absent means 32, but num"),
        ({"model_type": ..., "architectures": ...}, "architectures = None"),
        ({"model_type": "llama", "architectures": ...}, "architectures = None"),
        ({"architectures": [["Qwen2ForCausalLM"]]}, "architectures"),
        ({"num_key_value_heads": 4}, "num_key_value_heads"),
        ({"num_key_value_heads": 0}, "num_key_value_heads"),
        ({"head_dim": 63}, "head_dim.*63"),
        ({"hidden_size": 895}, "hidden_size.*895"),
        ({"num_hidden_layers": "24"}, "num_hidden_layers.*'24'"),
        ({"num_hidden_layers": 10_001}, "num_hidden_layers.*10000"),
        ({"intermediate_size": 0}, "intermediate_size.*from 1"),
        ({"max_position_embeddings": -1}, "max_position_embeddings.*from 1"),
        ({"hidden_size": 10**400}, "hidden_size.*2147483647"),
        ({"rms_norm_eps": 0}, "rms_norm_eps"),
        ({"torch_dtype": "int8"}, "torch_dtype.*int8.*dtype='bf16'"),
        ({"torch_dtype": "auto"}, "torch_dtype.*auto"),
        ({"dtype": "float16"}, "dtype = 'float16'.*torch_dtype = 'bfloat16'"),
        ({"eos_token_id": 151936}, "eos_token_id"),
        ({"eos_token_id": 2**31}, "eos_token_id"),
        ({"bos_token_id": [1, 2]}, "bos_token_id.*at most one"),
        ({"vocab_size": True}, "vocab_size"),
        ({"hidden_size": ...}, "'hidden_size' is missing"),
        ({"hidden_size": 896.0}, r"hidden_size = 896\.0"),
        ({"intermediate_size": None}, "'intermediate_size' is missing"),
        ({"num_hidden_layers": ...}, "'num_hidden_layers' is missing"),
        ({"num_attention_heads": ...}, "'num_attention_heads' is missing"),
    ],
)
def test_refusals_name_key_and_value(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_model_config(write(tmp_path, **changes))


@pytest.mark.parametrize("torch_dtype", ["bfloat16", "int8", "nonsense", 3, ...])
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_an_explicit_dtype_wins(tmp_path: Path, torch_dtype: object, dtype: str) -> None:
    folder = write(tmp_path, torch_dtype=torch_dtype)
    assert load_model_config(folder, dtype=dtype).dtype == dtype


@pytest.mark.parametrize("changes", [{}, {"use_mrope": True, "pad_token_id": 5, "auto_map": {}}])
def test_known_keys_say_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any]
) -> None:
    load_model_config(write(tmp_path, **changes))
    assert not caplog.messages


def test_keys_that_nothing_reads_are_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load_model_config(write(tmp_path, temperature=0.5, logit_scale=2.0))
    [message] = caplog.messages
    assert message == f"{tmp_path / 'config.json'}: not read: logit_scale, temperature"


def test_an_adapter_beside_the_model_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    load_model_config(write(tmp_path))
    [message] = caplog.messages
    assert "adapter_config.json: not read: adapters are not supported" in message


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = write(tmp_path) / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_model_config(tmp_path).decoder.hidden_size == 896


def test_missing_folder_and_file_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere: no such folder.*hf download"):
        load_model_config(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"is no checkpoint: it has no config\.json;.*hf download"):
        load_model_config(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1, "a": 2}', '{"a": NaN}', "\udcff"])
def test_broken_json(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, errors="surrogateescape")
    with pytest.raises(ModelError, match=r"config\.json"):
        load_model_config(tmp_path)
