"""The tokenizer of tiny-qwen2, which has Qwen's alphabet, special tokens and chat template."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagegate.text.tokenizer import Tokenizer
from suites.engine.edited_checkpoint import write_original

TINY = Path(__file__).parents[1] / "models" / "tiny-qwen2"


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(TINY)


@pytest.fixture(scope="session")
def checkpoint_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_original(tmp_path_factory.mktemp("checkpoint") / "original")
