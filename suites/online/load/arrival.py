"""Arrival times of conversations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from suites.online.load.errors import LoadError


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """N clients, each of which begins a conversation when its previous one has ended.

    A slow server receives fewer requests, so this measures its capacity, not the waiting time.
    """

    concurrency: int

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            msg = f"concurrency must be 1 or more, got {self.concurrency}"
            raise LoadError(msg)


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Bursts of conversations at the times of a Poisson process, regardless of the server.

    rate: conversations a second on average. burst: how many begin in the same instant.
    """

    rate: float
    burst: int = 1

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate > 0):
            msg = f"rate must be a positive number of conversations a second, got {self.rate}"
            raise LoadError(msg)
        if self.burst < 1:
            msg = f"burst must be 1 or more, got {self.burst}"
            raise LoadError(msg)

    def schedule(self, conversations: int, seed: int) -> list[float]:
        """Seconds from the first beginning, which is 0, to each."""
        bursts = -(-conversations // self.burst)
        rng = np.random.default_rng(seed)
        gaps = rng.exponential(self.burst / self.rate, size=bursts - 1)
        times = np.concatenate([[0.0], np.cumsum(gaps)])
        return [float(time) for time in np.repeat(times, self.burst)[:conversations]]

    def rate_of(self, times: Sequence[float]) -> float | None:
        """Conversations a second of those that began at these times, in the order of a schedule.

        The last burst ends the time that is counted, and is not counted itself. None for one.
        """
        last = (len(times) - 1) // self.burst * self.burst
        return last / (times[last] - times[0]) if last > 0 and times[last] > times[0] else None
