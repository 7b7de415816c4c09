"""The engine's side of a comparison: it answers one line of JSON with another until its input ends.

A driver of an engine is a program that runs by itself, with this file beside it, in an interpreter
that need not have anything of Stagegate.

What is not installed is said before anything is asked, as `missing`, and ends the program. The
first line states the setup: model (a folder), device ("cpu" or "cuda"), max_model_len and
num_threads. The answer has `setup`, versions and settings of the engine. Each further line has
`prompts`, token ids, and `max_tokens` for each of them; every request gets as many tokens,
greedily. The answer has `seconds` and `lengths`, the tokens of each request. A request that fails
is answered with `error`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Protocol

Setup = dict[str, Any]


class Engine(Protocol):
    """What a driver has of an engine that is ready."""

    @property
    def setup(self) -> Setup:
        """Versions and settings: texts, numbers, flags."""

    def generate(self, prompts: list[list[int]], max_tokens: list[int]) -> list[int]:
        """Generate exactly so many tokens for each prompt; returns how many there are."""


def serve(start: Callable[[Setup], Engine], *, packages: tuple[str, ...]) -> None:
    """Answer until the input ends. packages: modules that have to be installed."""
    # Engines write to standard output, which is for answers alone.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(**content: Any) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    if absent := [name for name in packages if find_spec(name) is None]:
        answer(missing=", ".join(absent))
        return
    stated = sys.stdin.readline()
    if not stated:  # only asked whether all is installed
        return
    try:
        engine = start(json.loads(stated))
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")
        raise
    answer(setup=engine.setup)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            started = time.perf_counter()
            lengths = engine.generate(request["prompts"], request["max_tokens"])
            seconds = time.perf_counter() - started
        except Exception as error:
            answer(error=f"{type(error).__name__}: {error}")
        else:
            answer(seconds=seconds, lengths=lengths)
