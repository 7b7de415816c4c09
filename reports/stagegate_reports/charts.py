"""What the large figures show: cases over versions, limits and sizes, as plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stagegate_baselines.limits import LIMITS
from stagegate_baselines.peers import OURS
from stagegate_baselines.records import Better
from stagegate_reports.comparisons import gain
from stagegate_reports.model import CaseView, Comparison, MetricView

# Of the work of a case and not of its cost, but worth seeing beside it.
_ALSO_BY_SIZE = ("kv_bytes",)


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One case over the versions of its stage. points: (place of the version, how many times better
    than the first); the last place is now."""

    case: CaseView
    metric: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class History:
    """labels: of the versions, from old to new, then now."""

    labels: tuple[str, ...]
    lines: tuple[HistoryLine, ...]


@dataclass(frozen=True, slots=True)
class LimitRow:
    """A case and its share of the limit that it comes nearest to. limit: which one that is."""

    case: CaseView
    limit: str
    share: float


@dataclass(frozen=True, slots=True)
class PeerBar:
    """A case beside the same one of another engine. gain, interval: as in Comparison.

    limit: how near this engine comes to what bounds it; None where the case does not say.
    """

    label: str
    gain: float
    interval: tuple[float, float] | None
    limit: LimitRow | None


@dataclass(frozen=True, slots=True)
class CostLine:
    """What a size costs. points: (size, value of the metric), from small to large."""

    label: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class CostCurve:
    """Cases that differ in one number. parameter: which."""

    stage: str | None
    parameter: str
    metric: str
    unit: str
    lines: tuple[CostLine, ...]


def history(cases: Sequence[CaseView]) -> History:
    """The versions that compare with now, of the metric that speaks for each case."""
    labels: dict[str, None] = {}
    for case in cases:
        labels |= dict.fromkeys(version.label for version in case.versions)
    places = {label: place for place, label in enumerate(labels)}
    lines = []
    for case in cases:
        lead = case.lead
        if lead is None:
            continue
        values = [
            (places[version.label], value)
            for version, value in zip(case.versions, lead.history, strict=True)
            if version.comparable and value is not None
        ]
        if lead.value is not None:
            values.append((len(places), lead.value))
        gains = [(place, gain(value, values[0][1], lead.better)) for place, value in values]
        points = tuple((place, times) for place, times in gains if times is not None)
        if len(points) > 1:
            lines.append(HistoryLine(case, lead.name, points))
    return History((*labels, "now"), tuple(lines))


def limits(cases: Iterable[CaseView]) -> Mapping[str | None, Sequence[LimitRow]]:
    """By stage, the cases that say how much of the machine they use."""
    rows: dict[str | None, list[LimitRow]] = {}
    for case in cases:
        shares = [
            (metric.value, LIMITS[metric.name])
            for metric in case.metrics
            if metric.name in LIMITS and metric.value is not None
        ]
        if shares:
            share, limit = max(shares)
            rows.setdefault(case.stage, []).append(LimitRow(case, limit, share))
    return rows


def peer_bars(rows: Iterable[Comparison], stage: str) -> tuple[PeerBar, ...]:
    """Of the cases of a stage, by the metric that speaks for each."""
    of_stage = [row for row in rows if row.case.stage == stage]
    shares = {row.case.anchor: row for row in limits(row.case for row in of_stage).get(stage, ())}
    bars: dict[tuple[str, str], PeerBar] = {}
    for row in of_stage:
        lead = row.case.lead
        if lead is not None and lead.name == row.metric and row.gain is not None:
            words = [row.case.name.removesuffix(f"[{OURS}]")]
            words += [value for name, value in row.case.params if name == "model"]
            bars[row.case.anchor, row.other.anchor] = PeerBar(
                f"{' '.join(words)}, {row.word}",
                row.gain,
                row.interval,
                shares.get(row.case.anchor),
            )
    return tuple(bars.values())


def cost_curves(cases: Iterable[CaseView]) -> tuple[CostCurve, ...]:
    """Every set of cases that are the same work in several sizes.

    A size is a parameter with a positive number. Sets of one stage that have the same sizes and
    metric share a curve.
    """
    found: dict[tuple[str | None, str, str, str], dict[str, dict[float, float]]] = {}
    for case in cases:
        sized = [(name, size) for name, stated in case.params if (size := _size(stated))]
        for metric in _costs(case):
            for parameter, size in sized:
                if metric.value is None or metric.value <= 0:
                    continue
                curve = (case.stage, parameter, metric.name, metric.unit)
                sizes = found.setdefault(curve, {}).setdefault(_others(case, parameter), {})
                sizes.setdefault(size, metric.value)
    curves = []
    for curve, lines in found.items():
        drawn = tuple(
            CostLine(label, tuple(sorted(sizes.items())))
            for label, sizes in sorted(lines.items(), key=lambda line: _by_number(line[0]))
            if len(sizes) > 1
        )
        if drawn:
            curves.append(CostCurve(*curve, _shortened(drawn)))
    return tuple(curves)


def _costs(case: CaseView) -> list[MetricView]:
    """The judged metric that grows with the work, else the first; and what belongs beside it."""
    judged = [metric for metric in case.metrics if metric.judged]
    growing = [metric for metric in judged if metric.better is Better.LOWER]
    beside = [metric for metric in case.metrics if metric.name in _ALSO_BY_SIZE]
    return [*(growing or judged)[:1], *beside]


def _size(stated: str) -> float | None:
    try:
        size = float(stated)
    except ValueError:
        return None
    return size if 0 < size < float("inf") else None


def _others(case: CaseView, parameter: str) -> str:
    """All that the cases of a line have in common, in words."""
    rest = (f"{name}={value}" for name, value in case.params if name != parameter)
    return "\n".join((case.name.partition("[")[0], *rest, f"machine={case.machine_key}"))


def _by_number(label: str) -> list[tuple[float, str]]:
    """What orders labels as a reader counts: 8 before 64."""
    return [
        (float(part), "") if part.isdecimal() else (0.0, part)
        for part in re.split(r"([0-9]+)", label)
    ]


def _shortened(lines: tuple[CostLine, ...]) -> tuple[CostLine, ...]:
    """Without what all lines have in common."""
    parts = [line.label.split("\n") for line in lines]
    shared = set(parts[0][1:]).intersection(*map(set, parts))
    return tuple(
        CostLine(" ".join([words[0], *(w for w in words[1:] if w not in shared)]), line.points)
        for line, words in zip(lines, parts, strict=True)
    )
