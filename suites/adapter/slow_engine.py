"""A slowdown of the engine, put in on purpose."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from stagegate.core.llm_engine import LLMEngine
from stagegate_harness.planted import slowed


@contextmanager
def slow_engine(share: float, clock: Callable[[], float] = time.perf_counter) -> Iterator[None]:
    """Every step of every engine takes `share` longer inside the block, by the clock."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LLMEngine, "step", slowed(LLMEngine.step, share, clock))
        yield
