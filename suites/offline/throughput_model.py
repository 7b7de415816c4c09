"""The checkpoints that throughput is measured with: random weights in published dimensions."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from stagegate_baselines.fingerprint import model_digest
from stagegate_harness.options import SETTINGS
from suites.models.random_qwen2 import PRESETS

# A CPU has a tiny one with room for the lengths, which only shows that the cases run.
TINY = "tiny"
DIMENSIONS = {
    TINY: replace(PRESETS["group-6"], max_position_embeddings=32768),
    "qwen2-1.5b": PRESETS["qwen2-1.5b"],
    "qwen2-7b": PRESETS["qwen2-7b"],
}


def preset_for(device: str) -> str:
    """The one that a device is measured with where nothing else is asked for."""
    return TINY if device == "cpu" else "qwen2-1.5b"


def presets(metafunc: pytest.Metafunc, *criteria: str) -> None:
    """Parametrise a test by `preset`, with those of the device under test.

    criteria: what the test proves with all but the large ones, which have to be asked for.
    """
    if "preset" not in metafunc.fixturenames:
        return
    device = metafunc.config.stash[SETTINGS].device
    chosen = [pytest.param(preset_for(device), marks=pytest.mark.criterion(*criteria))]
    if device != "cpu":
        chosen.append(pytest.param("qwen2-7b", marks=pytest.mark.large))
    metafunc.parametrize("preset", chosen)


@cache
def digest_of(folder: Path) -> str:
    """Of a checkpoint, whose gigabytes are read once."""
    return model_digest(folder)
