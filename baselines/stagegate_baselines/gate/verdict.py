"""What the launches of two sides say about one metric of one case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from stagegate_baselines.gate import statistics
from stagegate_baselines.records import Better, Case, Metric, MetricClass

# By class: a change is unchanged when its interval lies within the floor, whatever the noise.
CLASS_FLOORS = {
    MetricClass.KERNEL: 0.02,
    MetricClass.THROUGHPUT: 0.03,
    MetricClass.LATENCY_P50: 0.05,
    MetricClass.LATENCY_P99: 0.10,
    MetricClass.MEMORY: 0.02,
}


@dataclass(frozen=True, slots=True)
class LeastChange:
    """What a change must exceed: a share of the floor, or standard errors if that is more."""

    share_of_floor: float
    errors: float


# A whole floor would find a change of just the floor in every other gate; below half of it nothing
# is worth stopping for.
PAIRED = LeastChange(share_of_floor=0.5, errors=2.0)
# Launches in the store ran at another time, and fresh launches of the new side meet the same ones
# again: they confirm nothing about the machine then, or about the luck of those launches.
STORED = LeastChange(share_of_floor=1.0, errors=5.0)

# A control that varies by more from launch to launch says that the host was busy with other work.
DISTURBED_CONTROL = 0.02


class Verdict(StrEnum):
    REGRESSED = "regressed"
    IMPROVED = "improved"
    UNCHANGED = "unchanged"  # equivalence shown, not merely no difference found
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"
    NOT_COMPARABLE = "not-comparable"
    NO_BASELINE = "no-baseline"


class Reason(StrEnum):
    WORSE_BEYOND_MARGIN = "worse-beyond-margin"
    BETTER_BEYOND_MARGIN = "better-beyond-margin"
    WITHIN_FLOOR = "within-floor"
    INTERVAL_TOO_WIDE = "interval-too-wide"
    HOST_DISTURBED = "host-disturbed"
    BELOW_ABSOLUTE_FLOOR = "below-absolute-floor"
    NOT_CONFIRMED = "not-confirmed"
    TOO_FEW_LAUNCHES = "too-few-launches"
    RUN_INVALID = "run-invalid"
    NOT_POSITIVE = "not-positive"
    OTHER_MACHINE = "other-machine"
    OTHER_WORK = "other-work"
    NEW_CASE = "new-case"
    CASE_REMOVED = "case-removed"
    INCOMPLETE = "incomplete"


class Comparison(StrEnum):
    """paired: base[i] and new[i] ran next to each other. stored: on one machine, at other times.

    advisory: on two machines of one kind.
    """

    PAIRED = "paired"
    STORED = "stored"
    ADVISORY = "advisory"


@dataclass(frozen=True, slots=True)
class Launch:
    """What one process measured of one case, and the machine it ran on.

    machine_kind: processor and GPUs, without what is set on them.
    """

    machine_key: str
    machine_kind: str
    case: Case

    @property
    def control(self) -> float:
        """Median seconds of the control loop beside the rounds; NaN where there was none."""
        return _median_of(self.case.control)


@dataclass(frozen=True, slots=True)
class Judgement:
    """effect, low, high: relative change, positive is worse. margin: what a change must exceed.

    sigma: standard deviation of a launch, as a share. control_sigma: that of the control loop; None
    where it was not measured. slope: as in Estimate. base_median, new_median: over the launches, in
    `unit`. Numbers are None where nothing could be compared. detail: the words behind an invalid
    run.
    """

    case: str
    metric: str
    verdict: Verdict
    reason: Reason
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    sigma: float | None = None
    control_sigma: float | None = None
    slope: float | None = None
    base_median: float | None = None
    new_median: float | None = None
    unit: str = ""
    better: Better | None = None
    p: float | None = None
    adjusted_p: float | None = None  # over the family of a gate
    launches: int = 0
    detail: str = ""


def judge(
    base: Sequence[Launch],
    new: Sequence[Launch],
    metric: str,
    *,
    comparison: Comparison,
    sigma: float | None = None,
    confidence: float = statistics.CONFIDENCE,
    slope: float | None = None,
) -> Judgement:
    """Judge one metric; both sides hold launches of the same case.

    sigma: standard deviation of a launch, as a share, where it is known from many launches; it can
    only widen an interval. confidence: of the interval. slope: of the control, where it is
    known from other launches.
    """
    if not new:
        msg = "no launch of the new side to judge"
        raise ValueError(msg)
    name = new[0].case.name
    refusal = _refusal(base, new, metric, comparison)
    if refusal is not None:
        verdict, reason, detail = refusal
        return Judgement(name, metric, verdict, reason, launches=len(new), detail=detail)
    described = _metric(new[0].case, metric)
    before = [_median(launch, metric) for launch in base]
    after = [_median(launch, metric) for launch in new]
    if min(len(before), len(after)) < 2:
        return Judgement(
            name, metric, Verdict.INCONCLUSIVE, Reason.TOO_FEW_LAUNCHES, launches=len(new)
        )
    if not all(math.isfinite(value) and value > 0 for value in before + after):
        return Judgement(name, metric, Verdict.INVALID, Reason.NOT_POSITIVE, launches=len(new))
    paired = comparison is Comparison.PAIRED
    controls = _controls(base, new)
    control_sigma = None if controls is None else _spread([*controls[0], *controls[1]])
    disturbed = control_sigma is not None and control_sigma > DISTURBED_CONTROL
    control = None
    if controls is not None and (disturbed or slope is not None):
        control = statistics.Control(*controls, slope)
    estimate = (
        statistics.paired(before, after, described.better, control=control, confidence=confidence)
        if paired
        else statistics.unpaired(
            before,
            after,
            described.better,
            control=control,
            confidence=confidence,
            sigma=sigma or 0.0,
        )
    )
    if estimate is None:
        return Judgement(
            name,
            metric,
            Verdict.INCONCLUSIVE,
            Reason.HOST_DISTURBED,
            control_sigma=control_sigma,
            launches=len(new),
        )
    floor = math.log1p(CLASS_FLOORS[described.metric_class])
    least = PAIRED if paired else STORED
    margin = max(least.share_of_floor * floor, least.errors * estimate.error)
    base_median, new_median = float(np.median(before)), float(np.median(after))
    verdict, reason = _decide(
        estimate, margin, floor, abs(new_median - base_median) > described.floor
    )
    if reason is Reason.INTERVAL_TOO_WIDE and disturbed:
        reason = Reason.HOST_DISTURBED
    return Judgement(
        name,
        metric,
        verdict,
        reason,
        effect=math.expm1(estimate.effect),
        low=math.expm1(estimate.low),
        high=math.expm1(estimate.high),
        margin=math.expm1(margin),
        sigma=estimate.sigma if sigma is None else sigma,
        control_sigma=control_sigma,
        slope=estimate.slope,
        base_median=base_median,
        new_median=new_median,
        unit=described.unit,
        better=described.better,
        p=estimate.p,
        launches=len(new),
    )


def _controls(
    base: Sequence[Launch], new: Sequence[Launch]
) -> tuple[list[float], list[float]] | None:
    """The control of every launch; None where one of them has none."""
    sides = [launch.control for launch in base], [launch.control for launch in new]
    if all(math.isfinite(value) and value > 0 for side in sides for value in side):
        return sides
    return None


def _spread(values: Sequence[float]) -> float:
    """Standard deviation as a share."""
    return float(np.std(np.log(values), ddof=1))


def _refusal(
    base: Sequence[Launch], new: Sequence[Launch], metric: str, comparison: Comparison
) -> tuple[Verdict, Reason, str] | None:
    """Correctness and comparability come before any number."""
    for side, launches in (("new", new), ("base", base)):
        for launch in launches:
            if launch.case.invalid:
                detail = f"{side}: {'; '.join(launch.case.invalid)}"
                return Verdict.INVALID, Reason.RUN_INVALID, detail
    if not base or not all(_has(launch, metric) for launch in base):
        return Verdict.NO_BASELINE, Reason.NEW_CASE, ""
    unpaired = comparison is Comparison.PAIRED and len(base) != len(new)
    if unpaired or not all(_has(launch, metric) for launch in new):
        return Verdict.INVALID, Reason.INCOMPLETE, ""
    difference = _difference((*base, *new), comparison)
    return None if difference is None else (Verdict.NOT_COMPARABLE, difference, "")


def _difference(launches: Sequence[Launch], comparison: Comparison) -> Reason | None:
    """What keeps launches from being compared."""
    advisory = comparison is Comparison.ADVISORY
    if len({item.machine_kind if advisory else item.machine_key for item in launches}) > 1:
        return Reason.OTHER_MACHINE
    if len({(item.case.workload_hash, item.case.model_digest) for item in launches}) > 1:
        return Reason.OTHER_WORK
    return None


def _has(launch: Launch, metric: str) -> bool:
    return any(known.name == metric for known in launch.case.metrics)


def _decide(
    estimate: statistics.Estimate, margin: float, floor: float, beyond_absolute_floor: bool
) -> tuple[Verdict, Reason]:
    """Bounds are in logarithms, as the estimate, so that swapping the sides mirrors the verdict.

    margin: what a change must exceed. floor: what the interval of no change must stay within.
    """
    if estimate.low > 0 and estimate.effect > margin:
        if not beyond_absolute_floor:
            return Verdict.UNCHANGED, Reason.BELOW_ABSOLUTE_FLOOR
        return Verdict.REGRESSED, Reason.WORSE_BEYOND_MARGIN
    if estimate.high < 0 and estimate.effect < -margin:
        if not beyond_absolute_floor:
            return Verdict.UNCHANGED, Reason.BELOW_ABSOLUTE_FLOOR
        return Verdict.IMPROVED, Reason.BETTER_BEYOND_MARGIN
    if -floor < estimate.low and estimate.high < floor and abs(estimate.effect) <= margin:
        return Verdict.UNCHANGED, Reason.WITHIN_FLOOR
    return Verdict.INCONCLUSIVE, Reason.INTERVAL_TOO_WIDE


def _metric(case: Case, name: str) -> Metric:
    for metric in case.metrics:
        if metric.name == name:
            if metric.metric_class not in CLASS_FLOORS:
                msg = f"{case.name}: {name} is recorded for information and is not judged"
                raise ValueError(msg)
            return metric
    msg = f"{case.name} has no metric {name!r}"
    raise ValueError(msg)


def _median(launch: Launch, name: str) -> float:
    return _median_of(_metric(launch.case, name).samples)


def _median_of(samples: Sequence[float | None]) -> float:
    known = [sample for sample in samples if sample is not None]
    return float(np.median(known)) if known else math.nan
