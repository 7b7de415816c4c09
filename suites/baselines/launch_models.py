"""Synthetic launches for the gate: how the median of a process varies from launch to launch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from baselines.gate.escalation import Side
from baselines.records import Record
from suites.baselines.sample_record import sample_record

# (random numbers, number of the launch in the session) to a log factor on the time of a launch.
Noise = Callable[[np.random.Generator, int], float]


def normal(rng: np.random.Generator, launch: int) -> float:
    return float(rng.normal(0.0, 0.01))


def bimodal(rng: np.random.Generator, launch: int) -> float:
    """One process in two is 10 % slower, as with another memory layout."""
    return float(0.10 * rng.integers(2) + rng.normal(0.0, 0.005))


def drifting(rng: np.random.Generator, launch: int) -> float:
    """The machine gets 3 % slower over 16 launches."""
    return float(0.03 * launch / 16 + rng.normal(0.0, 0.005))


def heavy_tailed(rng: np.random.Generator, launch: int) -> float:
    return float(0.007 * rng.standard_t(3))


MODELS: dict[str, Noise] = {
    "normal": normal,
    "bimodal": bimodal,
    "drifting": drifting,
    "heavy-tailed": heavy_tailed,
}


@dataclass
class SyntheticSource:
    """The new side takes exp(slowdown) times as long; launches count over both sides."""

    noise: Noise
    slowdown: float
    rng: np.random.Generator
    launches: int = 0
    sides: list[Side] = field(default_factory=list)

    def launch(self, side: Side, number: int) -> Record:
        effect = self.slowdown if side is Side.NEW else 0.0
        factor = np.exp(effect + self.noise(self.rng, self.launches))
        self.launches += 1
        self.sides.append(side)
        return sample_record(rate=float(1000.0 / factor))
