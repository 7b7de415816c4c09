"""The arithmetic of the gate: one number per process launch, ratios in logarithms, t intervals.

A launch is a fresh process; its rounds share one memory layout and one machine state, so they say
little about the next launch. The unit of evidence is therefore the median of a launch (Kalibera and
Jones, ISMM 2013), and intervals come from the spread between launches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from baselines.records import Better

# Two-sided; both ends together are two one-sided tests at 5 % (Schuirmann, 1987).
CONFIDENCE = 0.90

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A log ratio of new to base, positive when new is worse, and its confidence interval.

    sigma: standard deviation of one launch, in logarithms. p: one-sided, of "not worse".
    """

    effect: float
    low: float
    high: float
    sigma: float
    p: float


def paired(base: Sequence[float], new: Sequence[float], better: Better) -> Estimate:
    """Launches in pairs, base[i] beside new[i]: what both sides shared cancels.

    At least two pairs of positive numbers; ValueError otherwise.
    """
    if len(base) != len(new):
        msg = f"{len(base)} launches of the base cannot be paired with {len(new)}"
        raise ValueError(msg)
    differences = _worse(_logs(new) - _logs(base), better)
    count = len(differences)
    spread = float(np.std(differences, ddof=1))
    # The difference of two launches has twice the variance of one.
    return _student(
        float(np.mean(differences)), spread / count**0.5, count - 1, sigma=spread / 2**0.5
    )


def unpaired(base: Sequence[float], new: Sequence[float], better: Better) -> Estimate:
    """Launches of different times, by Welch's t; at least two positive numbers a side."""
    sides = [_worse(_logs(side), better) for side in (base, new)]
    effect = float(np.mean(sides[1]) - np.mean(sides[0]))
    variances = [float(np.var(side, ddof=1)) for side in sides]
    shares = [variance / len(side) for variance, side in zip(variances, sides, strict=True)]
    # Welch and Satterthwaite's degrees of freedom; without any spread their number does not matter.
    weights = [share**2 / (len(side) - 1) for share, side in zip(shares, sides, strict=True)]
    freedom = sum(shares) ** 2 / sum(weights) if sum(weights) > 0 else 1.0
    return _student(effect, sum(shares) ** 0.5, freedom, sigma=float(np.mean(variances)) ** 0.5)


def _student(effect: float, error: float, freedom: float, *, sigma: float) -> Estimate:
    if error == 0:  # every launch shows the same ratio: the interval is a point
        return Estimate(effect, effect, effect, 0.0, 0.0 if effect > 0 else 1.0)
    low, high = stats.t.interval(CONFIDENCE, freedom, loc=effect, scale=error)
    p = stats.t.sf(effect / error, freedom)
    return Estimate(effect, float(low), float(high), sigma, float(p))


def adjusted(p_values: Sequence[float]) -> list[float]:
    """p values of a family of cases, adjusted after Benjamini and Hochberg (1995)."""
    if not p_values:
        return []
    return [float(p) for p in stats.false_discovery_control(p_values)]


def _logs(values: Sequence[float]) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        msg = f"an interval needs two launches a side, got {len(array)}"
        raise ValueError(msg)
    if not np.all(np.isfinite(array) & (array > 0)):
        msg = f"ratios need positive numbers, got {array.tolist()}"
        raise ValueError(msg)
    return np.log(array)


def _worse(logs: FloatArray, better: Better) -> FloatArray:
    return logs if better is Better.LOWER else -logs
