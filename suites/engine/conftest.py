"""The tokenizer of tiny-qwen2, which has Qwen's alphabet, special tokens and chat template."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.tokenizer import Tokenizer

TINY = Path(__file__).parents[1] / "models" / "tiny-qwen2"


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(TINY)
