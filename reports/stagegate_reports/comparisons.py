"""Comparisons along a parameter of cases: slot against block, the engine against its peers."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain

from stagegate_baselines.gains import Gain, gain_of
from stagegate_baselines.records import Better
from stagegate_reports.model import CaseView, Comparison, MetricView


def compare_along(
    axis: str,
    ours: str,
    cases: Iterable[CaseView],
    *,
    free: Collection[str] = (),
    same_rounds: bool = False,
) -> tuple[Comparison, ...]:
    """Every case whose parameter `axis` is `ours` beside those of the same work with another value,
    metric by metric.

    free: parameters that may differ between the two. same_rounds: they were measured in pairs, so
    that the spread of the pairs gives an interval.
    """
    sides: dict[tuple[object, ...], dict[str, list[CaseView]]] = {}
    for case in cases:
        params = dict(case.params)
        value = params.pop(axis, None)
        if value is None:
            continue
        for name in free:
            params.pop(name, None)
        work = (
            case.stage, case.machine_key, case.suite, case.name.partition("[")[0],
            case.model_digest, tuple(sorted(params.items())),
        )  # fmt: skip
        sides.setdefault(work, {}).setdefault(value, []).append(case)
    return tuple(
        row
        for side in sides.values()
        for word, others in side.items()
        if word != ours
        for other in others
        for case in sorted(side.get(ours, ()), key=lambda case: case.name)
        for row in _rows(case, other, word, same_rounds)
    )


def gain(value: float | None, other: float | None, better: Better) -> float | None:
    """How many times better value is than other; None unless both are positive."""
    if value is None or other is None or value <= 0 or other <= 0:
        return None
    return value / other if better is Better.HIGHER else other / value


def _rows(case: CaseView, other: CaseView, word: str, same_rounds: bool) -> Iterable[Comparison]:
    theirs = {metric.name: metric for metric in other.metrics}
    for metric in case.metrics:
        beside = theirs.get(metric.name)
        if not metric.judged or beside is None:
            continue
        times = gain(metric.value, beside.value, metric.better)
        pairs = _of_pairs(metric, beside) if same_rounds else None
        yield Comparison(
            case=case,
            other=other,
            word=word,
            metric=metric.name,
            unit=metric.unit,
            better=metric.better,
            value=metric.value,
            other_value=beside.value,
            gain=times if pairs is None else pairs.ratio,
            interval=None if pairs is None else pairs.interval,
        )


def _of_pairs(ours: MetricView, theirs: MetricView) -> Gain | None:
    """Of all rounds, launch by launch."""
    pairs = list(zip(ours.launches, theirs.launches, strict=False))
    return gain_of(
        list(chain.from_iterable(one[: len(other)] for one, other in pairs)),
        list(chain.from_iterable(other[: len(one)] for one, other in pairs)),
        ours.better,
    )
