"""What the core asks of a model's configuration and weights."""

from __future__ import annotations

import re
from dataclasses import asdict, fields, replace

import numpy as np
import pytest

from stagegate import _C
from stagegate.errors import ArgumentError, DTypeError, ShapeError
from stagegate.models.decoder_config import DecoderConfig, RopeScaling
from stagegate.models.tensor_map import core_config

CONFIG = DecoderConfig(
    vocab_size=11, hidden_size=8, intermediate_size=12, num_layers=2, num_heads=4, num_kv_heads=2,
    head_dim=6, max_position_embeddings=32, rms_norm_eps=1e-6, rope_theta=1e4, rope_scaling=None,
    qkv_bias=True, qk_norm=False, tie_word_embeddings=True,
)  # fmt: skip
LAYER = {
    "attention_norm": ([[8]], "replicated"),
    "qkv": ([[24, 8], [12, 8], [12, 8]], "column"),
    "qkv.bias": ([[24], [12], [12]], "column"),
    "o": ([[8, 24]], "row"),
    "mlp_norm": ([[8]], "replicated"),
    "gate_up": ([[12, 8], [12, 8]], "column"),
    "down": ([[8, 12]], "row"),
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(
            ({name: value}, f"{name} must be positive, got {value}")
            for name in (
                "vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads",
                "num_kv_heads", "head_dim", "max_position_embeddings",
            )
            for value in (0, -3)
        ),
        ({"num_kv_heads": 3}, "num_heads must be a multiple of num_kv_heads, got 4 and 3"),
        ({"head_dim": 7}, "head_dim must be even, which rotary positions need, got 7"),
        ({"rms_norm_eps": 0.0}, "rms_norm_eps must be a number above 0, got 0"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps must be a number above 0, got nan"),
        ({"rope_theta": -1.0}, "rope_theta must be a number above 0, got -1"),
        ({"rope_theta": float("inf")}, "rope_theta must be a number above 0, got inf"),
    ],
)  # fmt: skip
def test_a_field_out_of_range_is_named(changes: dict[str, float], words: str) -> None:
    with pytest.raises(ArgumentError, match=f"^decoder: {words}$"):
        core_config(replace(CONFIG, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [field.name for field in fields(DecoderConfig)])
def test_every_field_has_to_be_stated(name: str) -> None:
    stated = {key: value for key, value in asdict(CONFIG).items() if key != name}
    with pytest.raises(TypeError, match=f"^{name} is missing$"):
        _C.DecoderConfig(**stated)


def test_a_field_that_is_none_is_named() -> None:
    with pytest.raises(TypeError, match=r"the fields are vocab_size, .*got \[.*'num_experts'\]"):
        _C.DecoderConfig(**asdict(CONFIG), num_experts=8)  # type: ignore[call-arg]


@pytest.mark.parametrize(("name", "value"), [("vocab_size", "11"), ("head_dim", 6.5)])
def test_a_value_of_another_type_is_named(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=re.escape(f"{name} has a value of the wrong type: ")):
        _C.DecoderConfig(**{**asdict(CONFIG), name: value})


def specs(config: DecoderConfig) -> dict[str, tuple[list[list[int]], str]]:
    return {
        spec.role: ([list(part) for part in spec.parts], spec.shard)
        for spec in _C.weight_specs(core_config(config))
    }


def test_weights_by_role() -> None:
    expected = {"embedding": ([[11, 8]], "vocabulary")}
    for index in range(2):
        expected |= {f"layers.{index}.{role}": spec for role, spec in LAYER.items()}
    expected["final_norm"] = ([[8]], "replicated")
    assert list(specs(CONFIG).items()) == list(expected.items())


def test_flags_add_and_take_away_weights() -> None:
    plain = specs(CONFIG)
    assert specs(replace(CONFIG, tie_word_embeddings=False)) == {
        **plain, "head": ([[11, 8]], "vocabulary"),
    }  # fmt: skip
    biased = {f"layers.{index}.qkv.bias" for index in range(2)}
    assert specs(replace(CONFIG, qkv_bias=False)).keys() == plain.keys() - biased
    normed = specs(replace(CONFIG, qk_norm=True))
    norms = {f"layers.{index}.{name}_norm" for index in range(2) for name in "qk"}
    assert normed.keys() == plain.keys() | norms
    assert all(normed[name] == ([[6]], "replicated") for name in norms)
    scaled = replace(CONFIG, rope_scaling=RopeScaling(8.0, 1.0, 4.0, 16))
    assert specs(scaled) == plain


def weights(config: DecoderConfig = CONFIG, dtype: str = "f32") -> _C.DecoderWeights:
    return _C.DecoderWeights(core_config(config), dtype, _C.Context())


def fill(loaded: _C.DecoderWeights, config: DecoderConfig = CONFIG) -> _C.DecoderWeights:
    for role, (parts, _) in specs(config).items():
        for index, shape in enumerate(parts):
            loaded.load(role, index, _C.Tensor.from_numpy(np.ones(shape, np.float32)))
    return loaded


def test_parts_are_missing_until_they_are_loaded() -> None:
    loaded = weights()
    assert len(loaded.missing()) == 2 * 12 + 2
    loaded.load("layers.1.qkv", 1, _C.zeros([12, 8], "f32"))
    assert "layers.1.qkv[1]" not in loaded.missing()
    assert loaded.missing()[:3] == ["embedding[0]", "layers.0.attention_norm[0]", "layers.0.qkv[0]"]


@pytest.mark.parametrize(
    ("role", "part", "shape", "error", "words"),
    [
        ("layers.2.qkv", 0, [24, 8], ArgumentError, "layers.2.qkv is not a weight of this model"),
        ("head", 0, [11, 8], ArgumentError, "head is not a weight of this model"),
        ("layers.0.qkv", 3, [12, 8], ArgumentError, "layers.0.qkv has 3 parts, got part 3"),
        ("layers.0.qkv", -1, [12, 8], ArgumentError, "layers.0.qkv has 3 parts, got part -1"),
        ("layers.0.o", 0, [24, 8], ShapeError, "layers.0.o[0] must have shape [8, 24], got f32"),
    ],
)
def test_what_does_not_fit_is_named(
    role: str, part: int, shape: list[int], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=f"weights: {re.escape(words)}"):
        weights().load(role, part, _C.zeros(shape, "f32"))


def test_no_part_is_loaded_twice() -> None:
    loaded = fill(weights())
    with pytest.raises(ArgumentError, match=r"layers\.0\.gate_up\[1\] was loaded before"):
        loaded.load("layers.0.gate_up", 1, _C.zeros([12, 8], "f32"))


def runner(loaded: _C.DecoderWeights, *, max_positions: int = 32) -> _C.Runner:
    return _C.Runner(
        weights=loaded,
        context=_C.Context(),
        max_tokens=4,
        max_rows=4,
        max_positions=max_positions,
        max_seqs=1,
        block_size=4,
    )


def test_a_runner_needs_all_weights() -> None:
    loaded = weights()
    with pytest.raises(ArgumentError, match=r"26 tensors were not loaded, .* is embedding\[0\]"):
        runner(loaded)


def test_positions_end_where_the_model_was_trained() -> None:
    with pytest.raises(ArgumentError, match="33 positions are more than the 32"):
        runner(fill(weights()), max_positions=33)


@pytest.mark.parametrize("dtype", ["f16", "f32", "i32"])
def test_the_cache_has_the_dtype_of_the_weights(dtype: str) -> None:
    with pytest.raises(DTypeError, match=f"KV cache: .* that of the weights, bf16, got {dtype}"):
        runner(fill(weights(dtype="bf16"))).allocate_kv(8, dtype)
    made = runner(fill(weights(dtype="bf16")))
    made.allocate_kv(8, "bf16")
    assert made.kv_bytes == 2 * 2 * 8 * 2 * 6 * 2
