"""A fixed piece of host work beside every round: what it takes says how busy the host is."""

from __future__ import annotations

import time
from typing import NamedTuple

# About ten milliseconds on a processor of 2026: long enough to meet a neighbour, short beside a
# round.
_STEPS = 200_000


class Control(NamedTuple):
    """Seconds of the loop: by the clock on the wall, and of those on a processor.

    A neighbour that takes the processor shows in the first alone; one that shares its caches, or a
    core by hyper-threading, in both.
    """

    wall: float
    cpu: float


def run_control() -> Control:
    """The loop, which does the same every time: integer arithmetic, no memory."""
    began, cpu = time.perf_counter(), time.thread_time()
    value = 1
    for _ in range(_STEPS):
        value = (value * 1_103_515_245 + 12_345) & 0x7FFF_FFFF
    return Control(time.perf_counter() - began, time.thread_time() - cpu)
