"""Synthetic launches for the gate: how the median of a process varies from launch to launch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from stagegate_baselines.gate.escalation import Side
from stagegate_baselines.records import Record
from suites.baselines.sample_record import Host, sample_record


@dataclass(frozen=True)
class Factors:
    """What a launch meets, as logarithms: of its time with a processor, and of the control's.

    queued, control_queued: of the time on the wall on top of that, spent waiting for a processor.
    """

    work: float
    control: float
    queued: float = 0.0
    control_queued: float = 0.0


# (random numbers, number of the launch in the session) to the factors of a launch.
Noise = Callable[[np.random.Generator, int], Factors]


def normal(rng: np.random.Generator, launch: int) -> Factors:
    return Factors(rng.normal(0.0, 0.01), _control(rng))


def bimodal(rng: np.random.Generator, launch: int) -> Factors:
    """One process in two is 10 % slower, as with another memory layout: the control is not."""
    return Factors(0.10 * rng.integers(2) + rng.normal(0.0, 0.005), _control(rng))


def bimodal_host(rng: np.random.Generator, launch: int) -> Factors:
    """The host is 10 % slower in one launch of two, as with a busy neighbour: so is the control."""
    slow = 0.10 * rng.integers(2)
    return Factors(slow + rng.normal(0.0, 0.005), slow + _control(rng))


def drifting(rng: np.random.Generator, launch: int) -> Factors:
    """The machine gets 3 % slower over 16 launches, which the control does not see."""
    return Factors(0.03 * launch / 16 + rng.normal(0.0, 0.005), _control(rng))


def heavy_tailed(rng: np.random.Generator, launch: int) -> Factors:
    return Factors(0.007 * rng.standard_t(3), _control(rng))


def noisy(rng: np.random.Generator, launch: int) -> Factors:
    return Factors(rng.normal(0.0, 0.05), _control(rng))


def busy_host(rng: np.random.Generator, launch: int) -> Factors:
    """A neighbour takes the processor up to half of the time; the control meets it at other
    moments. Time with a processor holds."""
    return Factors(rng.normal(0.0, 0.01), _control(rng), *_doubled(rng, 2))


def busy_siblings(rng: np.random.Generator, launch: int) -> Factors:
    """The same, and a neighbour on the other half of the core, or in the caches, slows what has a
    processor by up to 10 %: the control by somewhat less than the work."""
    slow = rng.uniform(0.0, 0.10)
    work, control = slow + rng.normal(0.0, 0.01), 0.7 * slow + _control(rng)
    return Factors(work, control, *_doubled(rng, 2))


def _control(rng: np.random.Generator) -> float:
    return float(rng.normal(0.0, 0.003))


def _doubled(rng: np.random.Generator, count: int) -> Sequence[float]:
    """Anything from not at all to twice the time, with both ends the likeliest."""
    return [float(value) for value in np.log1p(rng.beta(0.5, 0.5, count))]


MODELS: dict[str, Noise] = {
    "normal": normal,
    "bimodal": bimodal,
    "bimodal host": bimodal_host,
    "drifting": drifting,
    "heavy-tailed": heavy_tailed,
    "noisy": noisy,
    "busy host": busy_host,
    "busy siblings": busy_siblings,
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
        met = self.noise(self.rng, self.launches)
        effect = self.slowdown if side is Side.NEW else 0.0
        self.launches += 1
        self.sides.append(side)
        return sample_record(
            rate=float(1000.0 / np.exp(effect + met.work + met.queued)),
            control=float(0.01 * np.exp(met.control + met.control_queued)),
            host=Host(
                queued=float(np.expm1(met.queued)), control_cpu=float(0.01 * np.exp(met.control))
            ),
        )
