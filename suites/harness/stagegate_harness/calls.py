"""How long a call takes that is too short to time alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# Long enough for the clock and an interrupt to be small beside it.
BATCH_SECONDS = 0.005
ROUND_SECONDS = 0.15
LEAST_BATCHES = 5


class Seconds(NamedTuple):
    """By the clock on the wall, and on the processors, of all threads of the process."""

    wall: float
    cpu: float


class CallTimer:
    """Calls in batches; what a round reports is the median over its batches.

    wait: returns when what the calls queued on a device has run.
    """

    def __init__(self, call: Callable[[], object], wait: Callable[[], object]) -> None:
        self._call = call
        self._wait = wait
        self._calls = 1
        self._batch()  # the first call may load a kernel, or time candidates for an algorithm
        while self._batch().wall < BATCH_SECONDS:
            self._calls *= 2
        self._batches = max(LEAST_BATCHES, round(ROUND_SECONDS / self._batch().wall))

    def seconds_per_call(self) -> Seconds:
        batches = [self._batch() for _ in range(self._batches)]
        wall, cpu = np.median(batches, axis=0) / self._calls
        return Seconds(float(wall), float(cpu))

    def _batch(self) -> Seconds:
        call = self._call
        self._wait()
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(self._calls):
            call()
        self._wait()
        return Seconds(time.perf_counter() - began, time.process_time() - cpu)
