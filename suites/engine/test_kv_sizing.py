"""How large the KV storage gets: as tokens, as bytes, as a share of what is free."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stagegate import LLM, EngineConfig
from stagegate.errors import ConfigError
from stagegate.kv.sizing import kv_bytes_per_token, kv_capacity_tokens, kv_memory_from_text
from stagegate.models.decoder_config import DecoderConfig
from stagegate.models.registry import load_model_config

TINY = Path(__file__).parents[1] / "models" / "tiny-qwen2"
PER_TOKEN = 2 * 4 * 2 * 64 * 2  # keys and values of 4 layers, 2 heads of 64 each, 2 bytes
GIB = 1 << 30


@pytest.fixture(scope="module")
def decoder() -> DecoderConfig:
    return load_model_config(TINY).decoder


def capacity(decoder: DecoderConfig, free_bytes: int = GIB, **settings: object) -> int:
    config = EngineConfig(model=TINY, **settings)  # type: ignore[arg-type]
    return kv_capacity_tokens(config, decoder, "bf16", 2048, free_bytes)


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        (None, None),
        ("0.8", 0.8),
        ("1.0", 1.0),
        ("6GiB", 6 << 30),
        ("1.5GiB", 3 << 29),
        ("800MiB", 800 << 20),
        ("64KiB", 64 << 10),
    ],
)
def test_text_is_a_share_or_a_size(text: str | None, memory: float | int | None) -> None:
    found = kv_memory_from_text(text)
    assert found == memory
    assert type(found) is type(memory)
    assert EngineConfig(model=TINY, kv_memory=found).kv_memory == memory


@pytest.mark.parametrize("text", ["", "half", "6GB", "GiB", "80%", "infGiB", "nanGiB", "1,5GiB"])
def test_other_text_is_refused_with_what_would_do(text: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"a share such as 0\.8 or a size such as 6GiB, got '{re.escape(text)}'"
    ):
        kv_memory_from_text(text)


@pytest.mark.parametrize("memory", [0, -1, 0.0, -0.5, 1.5, float("nan"), True, "0.8"])
def test_a_memory_out_of_range_is_named(memory: object) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"kv_memory must be a share .* or a number of bytes, got {re.escape(repr(memory))}",
    ):
        EngineConfig(model=TINY, kv_memory=memory)  # type: ignore[arg-type]


def test_tokens_are_whole_blocks(decoder: DecoderConfig) -> None:
    assert kv_bytes_per_token(decoder, "bf16") == PER_TOKEN
    assert capacity(decoder, kv_capacity_tokens=1000) == 992
    assert capacity(decoder, kv_capacity_tokens=1000, block_size=64) == 960
    assert capacity(decoder, kv_capacity_tokens=1000, kv_layout="slot") == 1000


def test_bytes_and_shares_count_alike(decoder: DecoderConfig) -> None:
    assert capacity(decoder, kv_memory=1000 * PER_TOKEN + 1, kv_layout="slot") == 1000
    assert capacity(decoder, 4000 * PER_TOKEN, kv_memory=0.25, kv_layout="slot") == 1000
    # Unasked, a GPU gives more of what is free than a host.
    for_steps = 512 << 20
    assert capacity(decoder, for_steps + 4000 * PER_TOKEN, device="cuda", kv_layout="slot") == 3600
    assert capacity(decoder, 4000 * PER_TOKEN, device="cpu", kv_layout="slot") == 2000
    # What steps need on a GPU is nobody's to give.
    assert capacity(decoder, for_steps + 16 * PER_TOKEN, device="cuda", kv_memory=1.0) == 16


def test_tokens_overrule_memory(decoder: DecoderConfig) -> None:
    assert capacity(decoder, kv_capacity_tokens=64, kv_memory=0.9) == 64


def test_no_more_than_every_sequence_can_use(decoder: DecoderConfig) -> None:
    assert capacity(decoder, 64 * GIB, max_num_seqs=4) == 4 * 2048


def test_what_cannot_be_had_is_refused(decoder: DecoderConfig) -> None:
    with pytest.raises(ConfigError, match=r"kv_memory=2048 .* 1024 bytes .* a share such as 0\.9"):
        capacity(decoder, 1024, kv_memory=2048)
    with pytest.raises(ConfigError, match=r"kv_memory=1 is more than the 0 bytes"):
        capacity(decoder, 1024, device="cuda", kv_memory=1)
    with pytest.raises(ConfigError, match=r"1024 bytes .* are free, .* 512 may be .* raise kv_mem"):
        capacity(decoder, 1024, kv_memory=0.5)
    with pytest.raises(ConfigError, match=r"1048576 bytes .* free, 536870912 are for steps, 0 may"):
        capacity(decoder, 1 << 20, device="cuda")
    with pytest.raises(ConfigError, match=r"kv_capacity_tokens=15 .* use at least 16"):
        capacity(decoder, kv_capacity_tokens=15)


def start(model_path: Path, device: str, **settings: object) -> LLM:
    return LLM(model_path, device=device, max_num_batched_tokens=256, **settings)


def test_a_share_is_of_the_memory_of_the_device(model_path: Path, device: str) -> None:
    # Little, so that it is far less than every sequence at full length would take.
    small, large = (
        start(model_path, device, kv_memory=share).engine.kv_stats().capacity
        for share in (0.0005, 0.002)
    )
    assert 3 <= large / small <= 5  # others take and give back memory meanwhile


def test_bytes_are_taken_as_they_are(model_path: Path, device: str, kv_layout: str) -> None:
    model = load_model_config(model_path)
    per_token = kv_bytes_per_token(model.decoder, model.dtype)
    engine = start(model_path, device, kv_layout=kv_layout, kv_memory=1024 * per_token).engine
    assert engine.kv_stats().capacity == 1024
    assert engine.executor.memory_bytes["kv"] == 1024 * per_token


def test_more_than_the_device_has_is_refused(model_path: Path, device: str) -> None:
    with pytest.raises(ConfigError, match=rf"kv_memory={1 << 50} is more than the \d+ bytes"):
        start(model_path, device, kv_memory=1 << 50)


def test_the_table_says_what_took_how_much(model_path: Path, device: str) -> None:
    engine = start(model_path, device, kv_capacity_tokens=4096, max_model_len=1024).engine
    *rows, last = engine.memory_table().splitlines()
    held = engine.executor.memory_bytes
    assert [row.split() for row in rows] == [
        [name, f"{size / 2**20:.1f}", "MiB"] for name, size in held.items()
    ]
    assert held.keys() == {"weights", "kv", "workspace", "rows"}
    # Of each sequence the token at every position.
    assert held["rows"] >= 4 * engine.config.max_num_seqs * 1024
    assert last.split() == ["room", "for", "4096", "tokens,", "4.0", "sequences", "of", "1024"]
