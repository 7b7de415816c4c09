"""The prompts parity is checked on: of different lengths, some the beginning of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stagegate.models.registry import load_model_config
from stagegate.text.tokenizer import Tokenizer

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


# What varied prompts are made of: they begin with one kind, and the longer go on with the next.
_KINDS = {
    "english": "It was the best of times, it was the worst of times, it was the age of wisdom. ",
    "chinese": "人工智能正在改变世界,请用简单的话解释什么是神经网络,并举三个例子。",
    "code": "def fibonacci(n: int) -> int:\n    return n if n < 2 else fibonacci(n - 1)\n\n",
    "emoji": "Ship it 🚀🎉! 👩‍👩‍👧‍👦 and 👍🏽 agree: 🇨🇳🇯🇵 ❤️‍🔥 ✨ ",
    "marks": "Zo\u0308e\u0301 na\u0131\u0308ve o\u0302u\u0323 \u0e19\u0e49\u0e33 "
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd ",
    "json": '{"id": 17, "tags": ["a", "b"], "price": 12.50, "ok": true},\n',
}

# Kind and length in tokens.
_VARIED = (
    ("english", 1), ("chinese", 2), ("code", 3), ("emoji", 5), ("marks", 8), ("json", 13),
    ("chinese", 16), ("code", 17), ("emoji", 33), ("english", 47), ("marks", 64), ("json", 100),
    ("chinese", 150), ("emoji", 256), ("code", 420), ("english", 700),
)  # fmt: skip


def text_prompts(model: Path) -> list[list[int]]:
    tokenizer = Tokenizer.load(model)
    return [tokenizer.encode(text) for text in _TEXTS]


def varied_prompts(model: Path) -> list[list[int]]:
    """Sixteen of 1 to 700 tokens, or fewer where the model has no positions for as many."""
    tokenizer = Tokenizer.load(model)
    room = load_model_config(model).decoder.max_position_embeddings - NEW_TOKENS
    kinds = list(_KINDS)
    prompts = []
    for kind, length in _VARIED:
        first = kinds.index(kind)
        text = "".join(_KINDS[name] for name in kinds[first:] + kinds[:first])
        wanted = min(length, room)
        prompts.append(tokenizer.encode(text * wanted)[:wanted])
    return prompts


def random_prompts(model: Path) -> list[list[int]]:
    """Token ids for weights that know no language; the fourth and fifth begin like the sixth."""
    rng = np.random.default_rng(1)
    vocab_size = load_model_config(model).decoder.vocab_size
    prompts = [rng.integers(3, vocab_size, length).tolist() for length in (1, 2, 5, 33, 16, 64, 7)]
    prompts[3] = prompts[5][:33]
    prompts[4] = prompts[5][:16]
    return [*prompts, rng.integers(3, vocab_size, 48).tolist()]
