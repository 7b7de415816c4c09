"""Synthetic launches for the gate: how the median of a process varies from launch to launch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from stagegate_baselines.gate.escalation import Side
from stagegate_baselines.records import Record
from suites.baselines.sample_record import sample_record

# Logarithms: of the time of a launch, and of the control beside it.
Factors = tuple[float, float]
# (random numbers, number of the launch in the session) to the factors of a launch.
Noise = Callable[[np.random.Generator, int], Factors]


def normal(rng: np.random.Generator, launch: int) -> Factors:
    return float(rng.normal(0.0, 0.01)), _control(rng)


def bimodal(rng: np.random.Generator, launch: int) -> Factors:
    """One process in two is 10 % slower, as with another memory layout: the control is not."""
    return float(0.10 * rng.integers(2) + rng.normal(0.0, 0.005)), _control(rng)


def bimodal_host(rng: np.random.Generator, launch: int) -> Factors:
    """The host is 10 % slower in one launch of two, as with a busy neighbour: so is the control."""
    slow = 0.10 * rng.integers(2)
    return float(slow + rng.normal(0.0, 0.005)), float(slow + _control(rng))


def drifting(rng: np.random.Generator, launch: int) -> Factors:
    """The machine gets 3 % slower over 16 launches, which the control does not see."""
    return float(0.03 * launch / 16 + rng.normal(0.0, 0.005)), _control(rng)


def heavy_tailed(rng: np.random.Generator, launch: int) -> Factors:
    return float(0.007 * rng.standard_t(3)), _control(rng)


def noisy(rng: np.random.Generator, launch: int) -> Factors:
    return float(rng.normal(0.0, 0.05)), _control(rng)


def _control(rng: np.random.Generator) -> float:
    return float(rng.normal(0.0, 0.003))


MODELS: dict[str, Noise] = {
    "normal": normal,
    "bimodal": bimodal,
    "bimodal host": bimodal_host,
    "drifting": drifting,
    "heavy-tailed": heavy_tailed,
    "noisy": noisy,
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
        work, control = self.noise(self.rng, self.launches)
        effect = self.slowdown if side is Side.NEW else 0.0
        self.launches += 1
        self.sides.append(side)
        return sample_record(
            rate=float(1000.0 / np.exp(effect + work)), control=float(0.01 * np.exp(control))
        )
