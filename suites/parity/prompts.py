"""The prompts parity is checked on: eight of different lengths, some the beginning of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.models.registry import load_model_config
from engine.tokenizer import Tokenizer

NEW_TOKENS = 64

# Beginnings of Alice's Adventures in Wonderland, where tiny-qwen2 is sure of what follows.
_TEXTS = (
    "Alice was",
    "Down the",
    "The Mock Turtle sighed deeply",
    "The Hatter opened his eyes",
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having",
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having "
    "nothing to do: once or twice she had peeped into the book her sister was reading, but it had",
    "The Hatter opened his eyes very wide on hearing this; but all he SAID was,",
    "The Queen",
)


def text_prompts(model: Path) -> list[list[int]]:
    tokenizer = Tokenizer.load(model)
    return [tokenizer.encode(text) for text in _TEXTS]


def random_prompts(model: Path) -> list[list[int]]:
    """Token ids for weights that know no language; the fourth and fifth begin like the sixth."""
    rng = np.random.default_rng(1)
    vocab_size = load_model_config(model).vocab_size
    prompts = [rng.integers(3, vocab_size, length).tolist() for length in (1, 2, 5, 33, 16, 64, 7)]
    prompts[3] = prompts[5][:33]
    prompts[4] = prompts[5][:16]
    return [*prompts, rng.integers(3, vocab_size, 48).tolist()]
