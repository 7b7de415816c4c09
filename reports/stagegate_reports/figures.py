"""The large figures of a report, drawn by matplotlib: history, layouts, limits, cost.

Each shows what tables of the page also say. A unit of a figure is a pixel of the page.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil, floor, log2, log10
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from stagegate_baselines.escaping import one_line
from stagegate_reports.charts import CostCurve, History, HistoryLine, LimitRow, PeerBar
from stagegate_reports.formatting import count, number, share, times, times_interval
from stagegate_reports.inline_svg import (
    BAD,
    GOOD,
    INFO,
    INK,
    RULE,
    SETTINGS,
    SOFT,
    WARN,
    inline_svg,
)  # fmt: skip
from stagegate_reports.model import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _POINTS_PER_INCH, _ROW = 896, 72, 22
# More rows or names than these say nothing to an eye; the tables have all.
_MOST_ROWS, _MOST_NAMES, _LONGEST_NAME = 24, 3, 44
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
_VERDICTS = {"regressed": BAD, "improved": GOOD}
_LIMITS = {"memory": INFO, "arithmetic": WARN}
# Powers of two that the axis of gains reaches, and what is marked on a short one and on a long one.
_LONGEST_GAIN = 2.0
_GAIN_MARKS = ((0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.4, 1.7, 2), (0.25, 0.5, 0.7, 1, 1.5, 2, 3, 4))
_LOOK: dict[Any, Any] = {
    "font.size": 12,
    "text.color": SOFT,
    "axes.labelcolor": SOFT,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.spines.bottom": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
}


def history(past: History, *, name: str) -> Markup:
    """Every case against its first version that compares; the thick line is their median."""
    if not past.lines:
        return Markup()
    with _drawing(300) as (figure, axes):
        for line in past.lines:
            x, y = zip(*line.points, strict=True)
            colour = _VERDICTS.get(line.case.verdict_word, INFO)
            axes.plot(x, y, color=colour, linewidth=1, alpha=0.6)
        x, y = zip(*_medians(past.lines), strict=True)
        axes.plot(x, y, color=INK, linewidth=2.5)
        axes.axhline(1, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        axes.yaxis.set_major_formatter(lambda value, _: times(value))
        now = len(past.labels) - 1
        # The labels of eight versions fit beside each other; now is always one of them.
        places = range(now, -1, -ceil(len(past.labels) / 8))
        axes.set_xticks(list(places), [_short(past.labels[place], 16) for place in places])
        axes.set_xlim(-0.05 * now, now * 1.02)
        for line in _outermost(past.lines):
            place, value = line.points[-1]
            axes.annotate(
                _short(line.case.name), (place, value), (8, 0), textcoords="offset points",
                va="center", annotation_clip=False,
            )  # fmt: skip
        last = [line.points[-1][1] for line in past.lines]
        text = (
            f"{count(len(last), 'case')} over {count(now, 'accepted version')}; now they are "
            f"{times(min(last))} to {times(max(last))} as good as in their first version, the "
            f"median is {times(statistics.median(last))}."
        )
        return inline_svg(figure, name=name, title="Cases over accepted versions", text=text)


def layouts(rows: Sequence[Comparison], *, name: str) -> Markup:
    """A row for each pair of cases, a mark for each metric; right of 1 the block layout wins."""
    pairs: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for row in rows:
        if row.gain is not None:
            key = (row.case.anchor, row.other.anchor)
            pairs.setdefault(key, []).append((row.metric, row.gain))
    if not pairs:
        return Markup()
    staged = len({row.case.stage for row in rows}) > 1
    names = {
        (row.case.anchor, row.other.anchor): f"{row.case.stage} {row.case.name}"
        if staged
        else row.case.name
        for row in rows
    }
    shown = list(pairs.items())[:_MOST_ROWS]
    metrics = list(dict.fromkeys(metric for _, marks in shown for metric, _ in marks))
    with _drawing(_ROW * len(shown) + 80) as (figure, axes):
        for index, metric in enumerate(metrics):
            marks = [
                (gain, place)
                for place, (_, found) in enumerate(shown)
                for label, gain in found
                if label == metric
            ]
            x, y = zip(*marks, strict=True)
            marker = _MARKERS[index % len(_MARKERS)]
            colours = [GOOD if gain >= 1 else BAD for gain in x]
            axes.scatter(x, y, c=colours, marker=marker, s=36, linewidths=0, alpha=0.8)
            axes.plot([], [], linestyle="", marker=marker, color=SOFT, label=_short(metric))
        axes.axvline(1, color=SOFT, linewidth=1)
        axes.xaxis.set_major_formatter(lambda value, _: times(value))
        _name_rows(axes, [names[key] for key, _ in shown])
        figure.legend(loc="outside upper left", ncols=4)
        gains = [gain for _, found in shown for _, gain in found]
        text = (
            f"{count(len(shown), 'pair')} of cases{_of_all(shown, pairs)}: the block layout is "
            f"{times(min(gains))} to {times(max(gains))} as good as the slot layout."
        )
        return inline_svg(figure, name=name, title="Block layout against slot layout", text=text)


def peers(bars: Sequence[PeerBar], *, name: str) -> Markup:
    """Left how many times better each case is than another engine, right its share of the limit."""
    shown = bars[:_MOST_ROWS]
    if not shown:
        return Markup()
    with _drawing(_ROW * len(shown) + 80, columns=2) as (figure, (left, right)):
        _draw_gains(left, shown)
        left.set_xlabel("times as good")
        _name_rows(left, [bar.label for bar in shown])
        _draw_shares(right, [bar.limit for bar in shown])
        right.set_xlabel("share of the limit")
        _name_rows(right, [""] * len(shown))
        if any(bar.limit for bar in shown):  # older records state no share
            figure.legend(loc="outside upper right", ncols=2)
        said = "; ".join(
            f"{bar.label}: {times(bar.gain)}"
            + (f" ({times_interval(bar.interval)})" if bar.interval else "")
            + (f", {share(bar.limit.share)} of {bar.limit.limit}" if bar.limit else "")
            for bar in shown
        )
        text = f"{count(len(shown), 'case')}{_of_all(shown, bars)}: {said}."
        return inline_svg(figure, name=name, title="Against other engines", text=one_line(text))


def _draw_gains(axes: Axes, bars: Sequence[PeerBar]) -> None:
    """From 1, twice as good as far to the right as half as good to the left; beyond the end of the
    axis the number is enough."""
    furthest = max(abs(log2(bar.gain)) for bar in bars)
    end = min(max(1.15 * furthest, 0.5), _LONGEST_GAIN)

    def x(gain: float) -> float:
        return max(-end, min(end, log2(gain)))

    for place, bar in enumerate(bars):
        axes.barh(place, x(bar.gain), height=0.6, color=GOOD if bar.gain >= 1 else BAD)
        reach = x(bar.gain)
        if bar.interval is not None:
            low, high = (x(limit) for limit in bar.interval)
            axes.plot([low, high], [place, place], color=INK, linewidth=1.5)
            reach = max(reach, high)
        axes.annotate(
            times(bar.gain), (max(reach, 0), place), (5, 0), textcoords="offset points",
            va="center",
        )  # fmt: skip
    axes.axvline(0, color=SOFT, linewidth=1)
    lowest = min(x(min(bar.gain, *(bar.interval or ()))) for bar in bars)
    axes.set_xlim(min(1.1 * lowest, -0.1 * end), 1.3 * end)
    marks = [gain for gain in _GAIN_MARKS[end > 1] if 1.1 * lowest <= log2(gain) <= end]
    axes.set_xticks([log2(gain) for gain in marks], [f"{gain:g}×" for gain in marks])


def limits(rows: Sequence[LimitRow], *, name: str) -> Markup:
    """How near each case comes to what bounds it, one bar a case."""
    shown = rows[:_MOST_ROWS]
    if not shown:
        return Markup()
    with _drawing(_ROW * len(shown) + 80) as (figure, axes):
        _draw_shares(axes, shown)
        _name_rows(axes, [row.case.name for row in shown])
        figure.legend(loc="outside upper left", ncols=2)
        said = "; ".join(f"{row.case.name} {share(row.share)} of {row.limit}" for row in shown)
        text = f"{count(len(shown), 'case')}{_of_all(shown, rows)}: {said}."
        return inline_svg(figure, name=name, title="Share of the limit", text=one_line(text))


def cost(curve: CostCurve, *, name: str) -> Markup:
    """A metric over a size, both logarithmic: work that costs in proportion is a diagonal."""
    shown = curve.lines[: len(_MARKERS)]
    with _drawing(300) as (figure, axes):
        axes.set_xscale("log")
        axes.set_yscale("log")
        for line, marker in zip(shown, _MARKERS, strict=False):
            x, y = zip(*line.points, strict=True)
            axes.plot(x, y, color=INFO, linewidth=1.25, marker=marker, markersize=6,
                      label=_short(line.label))  # fmt: skip
        sizes = sorted({size for line in shown for size, _ in line.points})
        axes.set_xticks(sizes, [number(size) for size in sizes])
        axes.minorticks_off()
        low, high = axes.get_ylim()
        scale = 2**20 if curve.unit == "bytes" else 1  # which is shown in MiB
        marks = [scale * mark for mark in _round_numbers(low / scale, high / scale)]
        if len(marks) < 2:
            values = [value for line in shown for _, value in line.points]
            marks = [min(values), max(values)]
        axes.set_yticks(marks, [number(mark, curve.unit) for mark in marks])
        axes.set_ylim(low, high)
        axes.set_xlabel(_short(curve.parameter))
        figure.legend(loc="outside right upper")
        said = "; ".join(
            f"{line.label}: "
            + ", ".join(
                f"{number(value, curve.unit)} at {number(size)}" for size, value in line.points
            )
            for line in shown
        )
        text = f"{count(len(shown), 'line')}{_of_all(shown, curve.lines)}. {said}."
        title = f"{curve.metric} by {curve.parameter}"
        return inline_svg(figure, name=name, title=one_line(title), text=one_line(text))


def _draw_shares(axes: Axes, rows: Sequence[LimitRow | None]) -> None:
    """A bar for each row that there is, from the top."""
    known = [(place, row) for place, row in enumerate(rows) if row is not None]
    for limit, colour in _LIMITS.items():
        bars = [(place, row.share) for place, row in known if row.limit == limit]
        if bars:
            y, width = zip(*bars, strict=True)
            axes.barh(y, width, height=0.6, color=colour, label=limit)
    for place, row in known:
        axes.annotate(
            share(row.share), (row.share, place), (5, 0), textcoords="offset points", va="center",
        )  # fmt: skip
    axes.set_xlim(0, 1.1 * max([1.0, *(row.share for _, row in known)]))
    axes.axvline(1, color=SOFT, linewidth=1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


@contextmanager
def _drawing(height: int, *, columns: int = 1) -> Iterator[tuple[Figure, Any]]:
    """A figure and its axes; of several columns, as many."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({**_LOOK, **SETTINGS}):
        size = (_WIDTH / _POINTS_PER_INCH, height / _POINTS_PER_INCH)
        figure = Figure(figsize=size, dpi=_POINTS_PER_INCH, layout="constrained")
        yield figure, figure.subplots(1, columns)


def _medians(lines: Sequence[HistoryLine]) -> Iterator[tuple[int, float]]:
    values: dict[int, list[float]] = {}
    for line in lines:
        for place, value in line.points:
            values.setdefault(place, []).append(value)
    for place in sorted(values):
        yield place, statistics.median(values[place])


def _outermost(lines: Sequence[HistoryLine]) -> list[HistoryLine]:
    """Those whose end a reader asks about first: far from the others, and from each other."""
    ends = sorted(lines, key=lambda line: line.points[-1][1])
    span = ends[-1].points[-1][1] - ends[0].points[-1][1]
    found: list[HistoryLine] = []
    for line in (*ends[:_MOST_NAMES], *reversed(ends[_MOST_NAMES:][-_MOST_NAMES:])):
        near = (abs(line.points[-1][1] - other.points[-1][1]) < 0.08 * span for other in found)
        if not any(near):
            found.append(line)
    return found


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """From the top, one name a row."""
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)


def _round_numbers(low: float, high: float) -> Iterator[float]:
    """1, 2 and 5 of each power of ten that lie between."""
    for power in range(floor(log10(low)), floor(log10(high)) + 1):
        yield from (n * 10.0**power for n in (1, 2, 5) if low <= n * 10.0**power <= high)


def _of_all(shown: Iterable[object], known: Iterable[object]) -> str:
    some, every = len(list(shown)), len(list(known))
    return "" if some == every else f" of {every}"


def _short(text: str, longest: int = _LONGEST_NAME) -> str:
    line = one_line(text)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
