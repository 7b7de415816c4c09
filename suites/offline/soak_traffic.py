"""Random requests of every kind; some are prefixes of others."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from stagegate import SamplingParams
from stagegate.structured.grammar import Grammar

LONGEST_PROMPT = 240
LONGEST_ANSWER = 64

_GRAMMARS = find_spec("llguidance") is not None


@dataclass(frozen=True)
class Job:
    """repeatable: its tokens are known from the prompt alone, so it can be run again."""

    prompt: list[int]
    params: SamplingParams
    repeatable: bool


def draw_jobs(vocab_size: int, seed: int) -> Iterator[Job]:
    """Endless. A third is greedy; half of the prompts begin with one of four prefixes."""
    rng = random.Random(seed)
    beginnings = [_tokens(rng, vocab_size, length) for length in (24, 48, 64, 100)]
    kinds = [_greedy, _greedy, _greedy, _sampled, _penalised, _prompt_logprobs, _several, _stopped]
    if _GRAMMARS:
        kinds.append(_grammar)
    while True:
        prompt = rng.choice(beginnings) if rng.random() < 0.5 else []
        longest = rng.choice((4, 30, LONGEST_PROMPT - len(prompt)))
        prompt = prompt + _tokens(rng, vocab_size, rng.randint(1, longest))
        kind = rng.choice(kinds)
        params: dict[str, Any] = {"max_tokens": rng.randint(1, LONGEST_ANSWER)}
        params |= kind(rng, vocab_size)
        yield Job(prompt, SamplingParams(**params), repeatable=kind is _greedy)


def _tokens(rng: random.Random, vocab_size: int, length: int) -> list[int]:
    return [rng.randrange(vocab_size) for _ in range(length)]


def _greedy(rng: random.Random, vocab_size: int) -> dict[str, Any]:
    return {"temperature": 0.0, "ignore_eos": True}


def _sampled(rng: random.Random, vocab_size: int) -> dict[str, Any]:
    return {
        "temperature": rng.uniform(0.1, 2.0),
        "top_k": rng.choice((0, 1, 5, 50)),
        "top_p": rng.choice((1.0, 0.95, 0.3)),
        "min_p": rng.choice((0.0, 0.05)),
        "seed": rng.choice((None, rng.getrandbits(62))),
    }


def _penalised(rng: random.Random, vocab_size: int) -> dict[str, Any]:
    return _sampled(rng, vocab_size) | {
        "repetition_penalty": rng.uniform(0.8, 1.5),
        "presence_penalty": rng.uniform(-1.0, 1.0),
        "frequency_penalty": rng.uniform(-1.0, 1.0),
        "logit_bias": {rng.randrange(vocab_size): rng.uniform(-50.0, 5.0) for _ in range(8)},
        "min_tokens": 1,
    }


def _prompt_logprobs(rng: random.Random, vocab_size: int) -> dict[str, Any]:
    return {"logprobs": rng.randint(0, 20), "prompt_logprobs": rng.choice((None, 0, 3))}


def _several(rng: random.Random, vocab_size: int) -> dict[str, Any]:
    return {"n": rng.randint(2, 4), "temperature": 1.0, "seed": rng.getrandbits(62)}


def _stopped(rng: random.Random, vocab_size: int) -> dict[str, Any]:
    stop_token_ids = _tokens(rng, vocab_size, 4)
    return {"stop": ["e", " the", ", "], "stop_token_ids": stop_token_ids, "temperature": 1.0}


def _grammar(rng: random.Random, vocab_size: int) -> dict[str, Any]:
    return {"grammar": Grammar.regex("[0-9]{3}-[a-c]{2}( (yes|no))*"), "temperature": 1.0}
