"""Slowdowns put in on purpose, to show that the gate finds them.

STAGEGATE_PLANT="test_linear=5,test_kv_layout[block=10" makes the cases whose names contain a text
take that many percent longer. The variable is part of the record, and such a record is refused as a
baseline.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import ParamSpec, TypeVar

import pytest

from stagegate_baselines.launch_variables import PLANT as VARIABLE

# Before the end less than this is spent spinning: giving way takes some microseconds.
_YIELD_S = 50e-6

P = ParamSpec("P")
T = TypeVar("T")


def planted_share(plan: str, case: str) -> float:
    """By which share a case is slowed; 0 where the plan does not name it.

    Raises pytest.UsageError for a plan that cannot be read.
    """
    for part in filter(None, plan.split(",")):
        name, _, percent = part.rpartition("=")
        try:
            share = float(percent) / 100
        except ValueError:
            share = -1.0
        if not name or share < 0:
            msg = f"{VARIABLE}={plan}: {part!r} is not TEXT=PERCENT"
            raise pytest.UsageError(msg)
        if name in case:
            return share
    return 0.0


def slowed(
    call: Callable[P, T], share: float, clock: Callable[[], float] = time.perf_counter
) -> Callable[P, T]:
    """The call, taking `share` longer than it does. The processor stays busy meanwhile: a sleep
    would let it cool and cost a wake-up that the plan did not order.

    clock: by which it takes longer. With time.thread_time a call that other work on the host holds
    up is not held up for longer than that. The thread does not give way then: on a busy host it
    would wait for its turn each time, and seem to wait for its work.
    """
    gives_way = clock is not time.thread_time

    @functools.wraps(call)
    def slower(*args: P.args, **kwargs: P.kwargs) -> T:
        began = clock()
        result = call(*args, **kwargs)
        until = clock()
        until += share * (until - began)
        while (left := until - clock()) > 0:
            if gives_way and left > _YIELD_S:
                time.sleep(0)  # other threads get the interpreter, as they do while the core works
        return result

    return slower


def clock_of(device: str) -> Callable[[], float]:
    """What a slowdown goes by: on the CPU the work of the thread, else the clock on the wall, since
    a thread that waits for a GPU works little."""
    return time.thread_time if device == "cpu" else time.perf_counter


@contextmanager
def slower(config: pytest.Config, share: float) -> Iterator[bool]:
    """The project's own slowdown, if it has one; whether it has, or none is wanted."""
    context = config.hook.pytest_stagegate_slowdown(config=config, share=share) if share else None
    with context or nullcontext():
        yield context is not None or not share
