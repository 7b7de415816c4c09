"""docs/checkpoints.md names every key of a checkpoint that the engine knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stagegate.models import generation_config, registry
from stagegate.text import tokenizer_config

# Of config.json, whichever architecture it is of.
CONFIG_KEYS = registry.READ_KEYS.union(
    *(architecture.known_keys for architecture in registry.ARCHITECTURES.values())
)
PAGE = Path(__file__).parents[2] / "docs" / "checkpoints.md"


@pytest.mark.parametrize(
    ("section", "keys"),
    [
        ("config.json", CONFIG_KEYS),
        ("generation_config.json", generation_config.KNOWN_KEYS),
        ("tokenizer_config.json", tokenizer_config.KNOWN_KEYS),
    ],
)
def test_every_known_key_is_in_its_section(section: str, keys: frozenset[str]) -> None:
    [text] = [
        part for part in PAGE.read_text("utf-8").split("\n## ") if part.startswith(f"{section}\n")
    ]
    assert sorted(keys - set(re.findall(r"`(\w+)`", text))) == []
