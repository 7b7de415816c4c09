"""A fixed piece of host work beside every round: what it takes says how busy the host is."""

from __future__ import annotations

import time

# About ten milliseconds on a processor of 2026: long enough to meet a neighbour, short beside a
# round.
_STEPS = 200_000


def control_seconds() -> float:
    """Seconds of the loop, which does the same every time: integer arithmetic, no memory."""
    started = time.perf_counter()
    value = 1
    for _ in range(_STEPS):
        value = (value * 1_103_515_245 + 12_345) & 0x7FFF_FFFF
    return time.perf_counter() - started
