"""The arithmetic of the gate: one number per process launch, ratios in logarithms, t intervals.

A launch is a fresh process; its rounds share one memory layout and one machine state, so they say
little about the next launch. The unit of evidence is therefore the median of a launch (Kalibera and
Jones, ISMM 2013), and intervals come from the spread between launches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from stagegate_baselines.records import Better

# Two-sided; both ends together are two one-sided tests at 2.5 % (Schuirmann, 1987).
CONFIDENCE = 0.95
# What fresh launches have to show again, one-sided at 5 %: they ask one question, not two.
CONFIRMING_CONFIDENCE = 0.90

# Fewer launches a side leave too few degrees of freedom to learn what the control explains.
LEAST_LAUNCHES_FOR_CONTROL = 5

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Control:
    """Seconds that a fixed piece of work took beside each launch.

    slope: how much of a change of the control the launches follow, as a power, where it is known
    from other launches; None: to be estimated from these.
    """

    base: Sequence[float]
    new: Sequence[float]
    slope: float | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A log ratio of new to base, positive when new is worse, and its confidence interval.

    error: standard error of the effect. sigma: standard deviation of one launch, in logarithms.
    p: one-sided, of "not worse". slope: of the control, None where none was taken out.
    """

    effect: float
    low: float
    high: float
    error: float
    sigma: float
    p: float
    slope: float | None = None


def paired(
    base: Sequence[float],
    new: Sequence[float],
    better: Better,
    *,
    control: Control | None = None,
    confidence: float = CONFIDENCE,
) -> Estimate | None:
    """Launches in pairs, base[i] beside new[i]: what both sides shared cancels.

    control: what it explains of the differences is taken out by least squares (a control variate,
    as in CUPED: Deng et al., WSDM 2013). None where the launches are too few for that, or the
    control differs between the sides and not between the pairs. At least two pairs of positive
    numbers; ValueError otherwise.
    """
    if len(base) != len(new):
        msg = f"{len(base)} launches of the base cannot be paired with {len(new)}"
        raise ValueError(msg)
    differences = _worse(_logs(new) - _logs(base), better)
    if control is None:
        return _of_differences(differences, confidence)
    shift = _logs(control.new) - _logs(control.base)
    if control.slope is not None:
        return _of_differences(differences - control.slope * shift, confidence, control.slope)
    # The intercept is what is left of the difference where the control did not change.
    design = np.column_stack([np.ones_like(shift), shift])
    estimate = _least_squares(design, differences, len(base), confidence)
    # The residuals are those of the difference of two launches.
    return estimate and replace(estimate, sigma=estimate.sigma / 2**0.5)


def unpaired(
    base: Sequence[float],
    new: Sequence[float],
    better: Better,
    *,
    control: Control | None = None,
    confidence: float = CONFIDENCE,
    sigma: float = 0.0,
) -> Estimate | None:
    """Launches of different times, by Welch's t; at least two positive numbers a side.

    sigma: standard deviation of a launch as it is known from elsewhere. Without a control the
    interval is never narrower than that allows: a few launches may agree by chance. control, and
    when there is no estimate: as for `paired`.
    """
    before, after = (_worse(_logs(side), better) for side in (base, new))
    if control is None:
        return _at_least_as_wide(
            _welch(before, after, confidence), sigma, len(before), len(after), confidence
        )
    shifts = _logs(control.base), _logs(control.new)
    if control.slope is not None:
        slope = control.slope
        return _welch(before - slope * shifts[0], after - slope * shifts[1], confidence, slope)
    side = np.repeat([0.0, 1.0], [len(before), len(after)])
    design = np.column_stack([side, np.concatenate(shifts), np.ones_like(side)])
    least = min(len(before), len(after))
    return _least_squares(design, np.concatenate([before, after]), least, confidence)


def _of_differences(
    differences: FloatArray, confidence: float, slope: float | None = None
) -> Estimate:
    count = len(differences)
    spread = float(np.std(differences, ddof=1))
    # The difference of two launches has twice the variance of one.
    return _student(
        float(np.mean(differences)),
        spread / count**0.5,
        count - 1,
        sigma=spread / 2**0.5,
        confidence=confidence,
        slope=slope,
    )


def _welch(
    base: FloatArray, new: FloatArray, confidence: float, slope: float | None = None
) -> Estimate:
    effect = float(np.mean(new) - np.mean(base))
    variances = [float(np.var(side, ddof=1)) for side in (base, new)]
    counts = (len(base), len(new))
    shares = [variance / count for variance, count in zip(variances, counts, strict=True)]
    # Welch and Satterthwaite's degrees of freedom; without any spread their number does not matter.
    weights = [share**2 / (count - 1) for share, count in zip(shares, counts, strict=True)]
    freedom = sum(shares) ** 2 / sum(weights) if sum(weights) > 0 else 1.0
    return _student(
        effect,
        sum(shares) ** 0.5,
        freedom,
        sigma=float(np.mean(variances)) ** 0.5,
        confidence=confidence,
        slope=slope,
    )


def _at_least_as_wide(
    estimate: Estimate, sigma: float, base: int, new: int, confidence: float
) -> Estimate:
    """The interval of a known spread, where the launches at hand show a narrower one."""
    error = sigma * (1 / base + 1 / new) ** 0.5
    half = float(stats.norm.ppf((1 + confidence) / 2)) * error
    if 2 * half <= estimate.high - estimate.low:
        return estimate
    return replace(
        estimate,
        low=estimate.effect - half,
        high=estimate.effect + half,
        error=error,
        sigma=sigma,
        p=float(stats.norm.sf(estimate.effect / error)),
    )


def _least_squares(
    design: FloatArray, values: FloatArray, launches: int, confidence: float
) -> Estimate | None:
    """The first coefficient of a linear model whose second one is the slope of the control."""
    if launches < LEAST_LAUNCHES_FOR_CONTROL:
        return None
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    coefficients, *_ = np.linalg.lstsq(design, values, rcond=None)
    residuals = values - design @ coefficients
    freedom = len(values) - design.shape[1]
    variance = float(residuals @ residuals) / freedom
    covariance = variance * np.linalg.inv(design.T @ design)
    return _student(
        float(coefficients[0]),
        float(covariance[0, 0]) ** 0.5,
        freedom,
        sigma=variance**0.5,
        confidence=confidence,
        slope=float(coefficients[1]),
    )


def _student(
    effect: float,
    error: float,
    freedom: float,
    *,
    sigma: float,
    confidence: float,
    slope: float | None,
) -> Estimate:
    if error == 0:  # every launch shows the same ratio: the interval is a point
        return Estimate(effect, effect, effect, 0.0, 0.0, 0.0 if effect > 0 else 1.0, slope)
    low, high = stats.t.interval(confidence, freedom, loc=effect, scale=error)
    p = stats.t.sf(effect / error, freedom)
    return Estimate(effect, float(low), float(high), error, sigma, float(p), slope)


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
