"""Small pictures as inline SVG: rounds, history, interval against margin, telemetry.

Written by hand, as a page holds many hundreds of them: dots are one path of round-capped points.
Each has a title and a description; colours come from the page's style sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from stagegate_baselines.escaping import html as escape
from stagegate_baselines.gate.findings import Finding
from stagegate_baselines.quantities import natural
from stagegate_baselines.samples import median
from stagegate_reports.formatting import change, interval, number, share
from stagegate_reports.model import CaseView, MetricView

WIDTH, HEIGHT = 320, 120
LEFT, RIGHT, TOP, BOTTOM = 8, 312, 10, 92

Point = tuple[float, float]


class Scale:
    """Maps a range of values to pixels, with a little air; a single value lies in the middle."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        air = 0.08 * (high - low) or abs(high) or 1.0
        self.low, self.high = low - air, high + air
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self._start + share * (self._end - self._start)


def rounds(case: CaseView, metric: MetricView) -> Markup:
    """Every round as a dot, a column for each launch, its median as a bar."""
    present = [sample for launch in metric.launches for sample in launch if sample is not None]
    if not present:
        return Markup()
    values = present if metric.baseline is None else [*present, metric.baseline]
    y = Scale(values, BOTTOM, TOP)
    column = (RIGHT - LEFT) / len(metric.launches)
    dots: list[Point] = []
    bars: list[str] = []
    for index, launch in enumerate(metric.launches):
        middle = LEFT + column * (index + 0.5)
        spread = min(column * 0.6, 72.0)
        step = spread / max(1, len(launch))
        for place, sample in enumerate(launch):
            if sample is not None:
                dots.append((middle - spread / 2 + step * (place + 0.5), y(sample)))
        center = median(launch)
        if center is not None:
            bars.append(f"M{_n(middle - spread / 2)} {_n(y(center))}h{_n(spread)}")
    labels = _labels(case.launches, column)
    body = f'{_baseline(metric, y)}<path class="bar" d="{"".join(bars)}"/>{_dots("dots", dots)}'
    text = (
        f"{len(present)} rounds in {len(metric.launches)} launches, from "
        f"{number(metric.low, metric.unit)} to {number(metric.high, metric.unit)}, "
        f"now {number(metric.value, metric.unit)}, "
        f"baseline {number(metric.baseline, metric.unit)}."
    )
    return _svg(f"Rounds of {metric.name}", text, body + labels + _ends(values, metric.unit))


def history(case: CaseView, metric: MetricView) -> Markup:
    """The accepted versions from old to new, then now; hollow where the work was another."""
    past = list(zip(case.versions, metric.history, strict=True))
    points = [(i, value) for i, (_, value) in enumerate(past) if value is not None]
    if not points:
        return Markup()
    values = [value for _, value in points]
    now = [] if metric.value is None else [metric.value]
    y = Scale([*values, *now], BOTTOM, TOP)
    step = (RIGHT - LEFT - 8) / max(1, len(past))

    def x(index: int) -> float:
        return LEFT + 4 + step * index

    # Whole pixels: a page holds tens of thousands of these.
    drawn = [(round(x(i)), round(y(value))) for i, value in points]
    same = [point for (i, _), point in zip(points, drawn, strict=True) if past[i][0].comparable]
    other = [point for point in drawn if point not in same]
    line = " ".join(f"{px} {py}" for px, py in same)
    body = f'<path class="line" d="M{line}"/>' if len(same) > 1 else ""
    body += _dots("past", drawn) + "".join(
        f'<circle class="other" cx="{_n(px)}" cy="{_n(py)}" r="2.5"/>' for px, py in other
    )
    if now:
        body += _dots("now", [(x(len(past)), y(now[0]))])
    first, last = case.versions[0].label, "now"
    body += f'<text x="{LEFT}" y="112">{escape(_short(first))}</text>'
    body += f'<text x="{RIGHT}" y="112" text-anchor="end">{last}</text>'
    text = (
        f"{len(points)} accepted versions, from {number(values[0], metric.unit)} to "
        f"{number(values[-1], metric.unit)}; now {number(metric.value, metric.unit)}."
    )
    return _svg(f"History of {metric.name}", text, body + _ends([*values, *now], metric.unit))


def reach(cases: Sequence[CaseView]) -> float:
    """How far the axis of the intervals of these cases goes: one scale, so that they compare."""
    ends = [0.05]
    for case in cases:
        for metric in case.metrics:
            if (worse := _worse(metric.verdict)) is not None:
                ends += [abs(worse.low), abs(worse.high), worse.margin]
    # One wild case must not press all others into a line: beyond 50 % an arrow is enough.
    return min(max(ends) * 1.05, 0.5)


@dataclass(frozen=True, slots=True)
class _Worse:
    """A finding on an axis where worse is positive, whatever the metric."""

    effect: float
    low: float
    high: float
    margin: float


def _worse(found: Finding | None) -> _Worse | None:
    if found is None or found.change is None or found.interval is None or found.better is None:
        return None
    better = found.better
    low, high = sorted(natural(end, better) for end in found.interval)
    margin = max(natural(end, better) for end in found.margin or (0.0, 0.0))
    return _Worse(natural(found.change, better), low, high, margin)


def effect(found: Finding | None, limit: float) -> Markup:
    """The interval and the effect on the band of the margin; better is left, worse is right."""
    worse = _worse(found)
    if found is None or found.better is None or worse is None:
        return Markup()
    margin = worse.margin

    def x(value: float) -> float:
        return 80 + 76 * max(-1.0, min(1.0, value / limit))

    low, high = x(worse.low), x(worse.high)
    ends = "" if worse.low >= -limit else f'<path class="span" d="M{_n(low + 4)} 5l-4 5 4 5"/>'
    ends += "" if worse.high <= limit else f'<path class="span" d="M{_n(high - 4)} 5l4 5-4 5"/>'
    body = (
        f'<path class="band" d="M{_n(x(-margin))} 0H{_n(x(margin))}V20H{_n(x(-margin))}z"/>'
        f'<path class="zero" d="M80 0v20"/>'
        f'<path class="span" d="M{_n(low)} 10H{_n(high)}"/>{ends}'
        f'<circle class="effect {escape(found.verdict.value)}" '
        f'cx="{_n(x(worse.effect))}" cy="10" r="4"/>'
    )
    text = (
        f"{change(found.change, found.better)}; interval {interval(found.interval)}, "
        f"margin {interval(found.margin)}"
    )
    return Markup(
        f'<svg class="interval" viewBox="0 0 160 20" role="img"><title>{escape(text)}</title>'
        f"{body}</svg>"
    )


def bar(part: float) -> Markup:
    """A share of one, as a bar on a track."""
    end = 100 * max(0.0, min(1.0, part))
    return Markup(
        f'<svg class="share" viewBox="0 0 100 8" preserveAspectRatio="none" role="img">'
        f'<title>{share(part)}</title><path class="band" d="M0 0H100V8H0z"/>'
        f'<path class="part" d="M0 0H{_n(end)}V8H0z"/></svg>'
    )


def telemetry(
    title: str, unit: str, times: Sequence[float], series: Sequence[float | None]
) -> Markup:
    """One quantity over the seconds of a run."""
    known = [(when, value) for when, value in zip(times, series, strict=True) if value is not None]
    if not known:
        return Markup()
    values = [value for _, value in known]
    x = Scale([when for when, _ in known], LEFT, RIGHT)
    y = Scale(values, BOTTOM, TOP)
    line = " ".join(f"{_n(x(when))} {_n(y(value))}" for when, value in known)
    body = f'<path class="line" d="M{line}"/>'
    body += f'<text x="{LEFT}" y="112">{number(known[0][0], "s")}</text>'
    body += f'<text x="{RIGHT}" y="112" text-anchor="end">{number(known[-1][0], "s")}</text>'
    text = f"From {number(min(values), unit)} to {number(max(values), unit)}."
    return _svg(title, text, body + _ends(values, unit))


def _svg(title: str, text: str, body: str) -> Markup:
    return Markup(
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>{escape(title)}</title><desc>{escape(text)}</desc>{body}</svg>"
    )


def _dots(name: str, points: Sequence[Point]) -> str:
    """One path of points: round caps make a dot of a line without length."""
    path = "".join(f"M{_n(x)} {_n(y)}h0" for x, y in points)
    return f'<path class="{name}" d="{path}"/>' if path else ""


def _baseline(metric: MetricView, y: Scale) -> str:
    if metric.baseline is None:
        return ""
    return f'<path class="base" d="M{LEFT} {_n(y(metric.baseline))}H{RIGHT}"/>'


def _labels(launches: Sequence[str], column: float) -> str:
    every = -(-len(launches) // 6)
    return "".join(
        f'<text x="{_n(LEFT + column * (i + 0.5))}" y="112" text-anchor="middle">'
        f"{escape(label if len(launches) <= 4 else label.removeprefix('launch '))}</text>"
        for i, label in enumerate(launches)
        if i % every == 0
    )


def _ends(values: Sequence[float], unit: str) -> str:
    """The largest value at the top, the smallest at the bottom."""
    low, high = min(values), max(values)
    marks = [(high, TOP - 1)] if low == high else [(high, TOP - 1), (low, BOTTOM + 7)]
    return "".join(
        f'<text class="end" x="{LEFT}" y="{_n(at)}">{escape(number(value, unit))}</text>'
        for value, at in marks
    )


def _short(label: str) -> str:
    return label if len(label) <= 24 else f"{label[:23]}…"


def _n(value: float) -> str:
    """A coordinate to a tenth of a pixel, in as few characters as it takes."""
    text = f"{value:.1f}"
    return text.removesuffix(".0")
