"""The conversations of a load, generated from a seed before the load begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from suites.online.load.errors import LoadError
from suites.online.load.lengths import Lengths
from suites.online.load.words import Words

_PREFIXES, _TURNS = 0, 1  # streams of random numbers of one seed


@dataclass(frozen=True, slots=True)
class Turn:
    text: str
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """Consecutive turns; each request contains the earlier turns, answers included.

    prefix: text in front of everything, the same for all conversations of a group; may be empty.
    """

    index: int
    prefix: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class WorkloadSettings:
    """Raises LoadError naming the value that is out of range.

    requests: in all; with several turns a multiple of them. prompt_tokens: what each turn adds.
    prefix_tokens: in front of that. prefix_groups: how many different prefixes there are, used in
    turn. seed: numbers that together are the seed.
    """

    requests: int
    prompt_tokens: Lengths
    output_tokens: Lengths
    prefix_tokens: int = 0
    prefix_groups: int = 1
    turns: int = 1
    seed: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for name in ("requests", "prefix_groups", "turns"):
            if getattr(self, name) < 1:
                msg = f"{name} must be 1 or more, got {getattr(self, name)}"
                raise LoadError(msg)
        if self.prefix_tokens < 0 or min(self.seed) < 0:
            msg = f"prefix_tokens {self.prefix_tokens} and seed {self.seed} must not be negative"
            raise LoadError(msg)
        if self.requests % self.turns:
            msg = (
                f"{self.requests} requests do not make conversations of {self.turns} turns; "
                f"take {self.requests - self.requests % self.turns + self.turns} requests"
            )
            raise LoadError(msg)


def draw_conversations(settings: WorkloadSettings, words: Words) -> list[Conversation]:
    """Equal settings give equal conversations; more requests only append to them."""
    prefixes = [
        words.text(
            np.random.default_rng([*settings.seed, _PREFIXES, group]), settings.prefix_tokens
        )
        for group in range(settings.prefix_groups)
    ]
    return [
        Conversation(index, prefixes[index % len(prefixes)], _turns(settings, words, index))
        for index in range(settings.requests // settings.turns)
    ]


def _turns(settings: WorkloadSettings, words: Words, index: int) -> tuple[Turn, ...]:
    rng = np.random.default_rng([*settings.seed, _TURNS, index])
    return tuple(
        Turn(words.text(rng, settings.prompt_tokens.draw(rng)), settings.output_tokens.draw(rng))
        for _ in range(settings.turns)
    )
