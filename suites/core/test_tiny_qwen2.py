"""The committed checkpoint is what the suites take it for."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

MODEL = Path(__file__).parents[1] / "models" / "tiny-qwen2"


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    stated: dict[str, Any] = json.loads((MODEL / "config.json").read_text())
    return stated


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(MODEL / "tokenizer.json"))


def test_weights_have_the_shapes_of_the_config(config: dict[str, Any]) -> None:
    with (MODEL / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    shapes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    hidden, head_dim = config["hidden_size"], 64
    assert shapes["model.embed_tokens.weight"] == [config["vocab_size"], hidden]
    for layer in range(config["num_hidden_layers"]):
        attention = f"model.layers.{layer}.self_attn"
        kv_rows = config["num_key_value_heads"] * head_dim
        assert shapes[f"{attention}.q_proj.weight"] == [
            config["num_attention_heads"] * head_dim,
            hidden,
        ]
        assert shapes[f"{attention}.k_proj.weight"] == [kv_rows, hidden]
        assert shapes[f"{attention}.v_proj.bias"] == [kv_rows]
    assert "lm_head.weight" not in shapes
    assert config["tie_word_embeddings"]


@pytest.mark.parametrize(
    "text",
    [
        "Alice was beginning to get very tired",
        "爱丽丝",
        "\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
        "tab\tnul\x00 end\r\n",
    ],
)
def test_tokenizer_round_trips_any_text(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_special_tokens_end_a_generation(tokenizer: Tokenizer) -> None:
    generation = json.loads((MODEL / "generation_config.json").read_text())
    ends = {tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")}
    assert set(generation["eos_token_id"]) == ends
