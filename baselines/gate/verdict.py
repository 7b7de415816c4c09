"""What the launches of two sides say about one metric of one case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from baselines.gate import statistics
from baselines.records import Case, Metric, MetricClass

# Least relative change worth stopping for, by class; twice the noise of a launch if that is more.
CLASS_FLOORS = {
    MetricClass.KERNEL: 0.02,
    MetricClass.THROUGHPUT: 0.03,
    MetricClass.LATENCY_P50: 0.05,
    MetricClass.LATENCY_P99: 0.10,
    MetricClass.MEMORY: 0.02,
}


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
    WITHIN_MARGIN = "within-margin"
    INTERVAL_TOO_WIDE = "interval-too-wide"
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


@dataclass(frozen=True, slots=True)
class Judgement:
    """effect, low, high: relative change, positive is worse. margin: what a change must exceed.

    None where nothing could be compared. detail: the words behind an invalid run.
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
) -> Judgement:
    """Judge one metric; both sides hold launches of the same case.

    sigma: standard deviation of a launch, as a share, where it is known from many launches. Else
    the spread of these few launches only raises what counts as a change; it does not make a noisy
    case pass as unchanged.
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
    compare = statistics.paired if paired else statistics.unpaired
    estimate = compare(before, after, described.better)
    spread = estimate.sigma if sigma is None else sigma
    floor = CLASS_FLOORS[described.metric_class]
    margin = max(floor, 2 * spread)
    equivalence = floor if sigma is None else margin
    absolute = abs(float(np.median(after)) - float(np.median(before)))
    verdict, reason = _decide(
        estimate, math.log1p(margin), math.log1p(equivalence), absolute > described.floor
    )
    return Judgement(
        name,
        metric,
        verdict,
        reason,
        effect=math.expm1(estimate.effect),
        low=math.expm1(estimate.low),
        high=math.expm1(estimate.high),
        margin=margin,
        sigma=spread,
        p=estimate.p,
        launches=len(new),
    )


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
    estimate: statistics.Estimate, margin: float, equivalence: float, beyond_floor: bool
) -> tuple[Verdict, Reason]:
    """Margins are in logarithms, as the estimate, so that swapping the sides mirrors the verdict.

    margin: what a change must exceed. equivalence: what its interval must stay within.
    """
    if estimate.low > 0 and estimate.effect > margin:
        if not beyond_floor:
            return Verdict.UNCHANGED, Reason.BELOW_ABSOLUTE_FLOOR
        return Verdict.REGRESSED, Reason.WORSE_BEYOND_MARGIN
    if estimate.high < 0 and estimate.effect < -margin:
        if not beyond_floor:
            return Verdict.UNCHANGED, Reason.BELOW_ABSOLUTE_FLOOR
        return Verdict.IMPROVED, Reason.BETTER_BEYOND_MARGIN
    if -equivalence < estimate.low and estimate.high < equivalence:
        return Verdict.UNCHANGED, Reason.WITHIN_MARGIN
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
    samples = [sample for sample in _metric(launch.case, name).samples if sample is not None]
    return float(np.median(samples)) if samples else math.nan
