"""Defaults of the engine's settings that depend on the device."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagegate.config import EngineConfig
from stagegate.errors import ConfigError

MODEL = Path("unread")


@pytest.mark.parametrize(("device", "tokens"), [("cpu", 2048), ("cuda", 8192)])
def test_a_step_has_more_tokens_on_a_gpu(device: str, tokens: int) -> None:
    assert EngineConfig(model=MODEL, device=device).step_tokens == tokens
    stated = EngineConfig(model=MODEL, device=device, max_num_batched_tokens=100)
    assert (stated.step_tokens, stated.max_num_seqs) == (100, 100)
    assert EngineConfig(model=MODEL, device=device, max_num_seqs=10_000).max_num_seqs == tokens


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "8"])
def test_tokens_of_a_step_are_a_positive_integer(value: object) -> None:
    with pytest.raises(ConfigError, match=f"max_num_batched_tokens .*{value!r}"):
        EngineConfig(model=MODEL, max_num_batched_tokens=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, -1.5, float("nan"), float("inf"), True, "8"])
def test_a_limit_of_time_is_a_positive_number(value: object) -> None:
    with pytest.raises(ConfigError, match=f"max_tpot_ms must be a positive .*{value!r}"):
        EngineConfig(model=MODEL, max_tpot_ms=value)  # type: ignore[arg-type]
    assert EngineConfig(model=MODEL, max_tpot_ms=8).max_tpot_ms == 8
    assert EngineConfig(model=MODEL).max_tpot_ms is None


def test_an_unknown_device_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="device must be one of cpu, cuda, got 'tpu'"):
        EngineConfig(model=MODEL, device="tpu")
