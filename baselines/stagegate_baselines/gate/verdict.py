"""What the launches of two sides say about one metric of one case."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from stagegate_baselines.gate import statistics
from stagegate_baselines.gate.conditions import (
    Basis,
    Beside,
    Clock,
    Conditions,
    Launch,
    conditions,
    median_or_nan,
    samples_of,
)
from stagegate_baselines.records import Better, Case, Metric, MetricClass
from stagegate_baselines.states import Verdict

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


class Reason(StrEnum):
    WORSE_BEYOND_MARGIN = "worse-beyond-margin"
    BETTER_BEYOND_MARGIN = "better-beyond-margin"
    WITHIN_FLOOR = "within-floor"
    INTERVAL_TOO_WIDE = "interval-too-wide"
    TWO_SPEEDS = "two-speeds"
    HOST_DISTURBED = "host-disturbed"
    DEVICE_DISTURBED = "device-disturbed"
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
class Judgement:
    """effect, low, high: relative change, positive is worse. margin: what a change must exceed.

    sigma: standard deviation of a launch, as a share. control_sigma, device_control_sigma: those of
    the controls on the host and on the GPU; None where they were not measured. basis: what the
    estimate rests on. base_median, new_median: over the launches, in `unit`, by the clock of the
    basis. Numbers are None where nothing could be compared. detail: the words behind an invalid
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
    device_control_sigma: float | None = None
    basis: Basis = field(default_factory=Basis)
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
    sigma: Mapping[Clock, float] = MappingProxyType({}),
    confidence: float = statistics.CONFIDENCE,
    basis: Basis | None = None,
) -> Judgement:
    """Judge one metric; both sides hold launches of the same case.

    sigma: standard deviation of a launch, as a share, by the clocks it is known by from many
    launches; it can only widen an interval. confidence: of the interval. basis: that other launches
    of the case were judged by, where these have to show the same again.
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
    if min(len(base), len(new)) < 2:
        return Judgement(
            name, metric, Verdict.INCONCLUSIVE, Reason.TOO_FEW_LAUNCHES, launches=len(new)
        )
    found = conditions(base, new, metric, basis)
    known = sigma.get(found.clock)
    before, after = (
        [median_or_nan(samples_of(_metric(launch.case, metric), found.clock)) for launch in side]
        for side in (base, new)
    )
    if not all(math.isfinite(value) and value > 0 for value in before + after):
        return Judgement(name, metric, Verdict.INVALID, Reason.NOT_POSITIVE, launches=len(new))
    paired = comparison is Comparison.PAIRED
    estimate = (
        statistics.paired(
            before, after, described.better, control=found.control, confidence=confidence
        )
        if paired
        else statistics.unpaired(
            before,
            after,
            described.better,
            control=found.control,
            confidence=confidence,
            sigma=known or 0.0,
        )
    )
    unknown = Judgement(
        name,
        metric,
        Verdict.INCONCLUSIVE,
        _disturbance(found),
        control_sigma=found.host_sigma,
        device_control_sigma=found.device_sigma,
        basis=Basis(found.clock),
        launches=len(new),
    )
    if estimate is None:
        return unknown
    if known is not None:
        unknown = replace(unknown, sigma=known)
    medians = median_or_nan(before), median_or_nan(after)
    judgement = _with_numbers(unknown, described, estimate, found, medians=medians, paired=paired)
    unexplained = judgement.reason is Reason.WITHIN_FLOOR and not paired and found.control is None
    if unexplained and _has_two_speeds((before, after), described.metric_class):
        return replace(judgement, verdict=Verdict.INCONCLUSIVE, reason=Reason.TWO_SPEEDS)
    return judgement


def _has_two_speeds(sides: Sequence[Sequence[float]], metric_class: MetricClass) -> bool:
    """Whether a launch lies further than twice the floor from the median of its side.

    Then there is a second speed, which all launches of the other side may have met: five stored
    ones one time in 32. For numbers that no control explains.
    """
    least = 2 * math.log1p(CLASS_FLOORS[metric_class])
    return any(
        abs(math.log(value / median_or_nan(side))) > least for side in sides for value in side
    )


def _with_numbers(
    unknown: Judgement,
    described: Metric,
    estimate: statistics.Estimate,
    found: Conditions,
    *,
    medians: tuple[float, float],
    paired: bool,
) -> Judgement:
    """medians: over the launches, of the base and of the new side."""
    floor = math.log1p(CLASS_FLOORS[described.metric_class])
    least = PAIRED if paired else STORED
    margin = max(least.share_of_floor * floor, least.errors * estimate.error)
    base_median, new_median = medians
    verdict, reason = _decide(
        estimate, margin, floor, abs(new_median - base_median) > described.floor
    )
    if reason is Reason.INTERVAL_TOO_WIDE and found.disturbed is not None:
        reason = _disturbance(found)
    return replace(
        unknown,
        verdict=verdict,
        reason=reason,
        effect=math.expm1(estimate.effect),
        low=math.expm1(estimate.low),
        high=math.expm1(estimate.high),
        margin=math.expm1(margin),
        sigma=estimate.sigma if unknown.sigma is None else unknown.sigma,
        basis=Basis(found.clock, found.beside, estimate.slope),
        base_median=base_median,
        new_median=new_median,
        unit=described.unit,
        better=described.better,
        p=estimate.p,
    )


def _disturbance(found: Conditions) -> Reason:
    return Reason.DEVICE_DISTURBED if found.disturbed is Beside.DEVICE else Reason.HOST_DISTURBED


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
