"""Values and changes of metrics as words, the same in every table, file and page.

A change is that of the metric itself: half the throughput is -50 %, whichever direction is better.
"""

from __future__ import annotations

from stagegate_baselines.records import Better

NOTHING = "-"


def natural(effect: float, better: Better) -> float:
    """The change of a metric, from an effect that is positive where the metric got worse.

    Its own inverse: of a change of the metric it gives the effect.
    """
    return effect if better is Better.LOWER else 1 / (1 + effect) - 1


def number(value: float | None, unit: str = "1") -> str:
    """Four significant digits and the unit."""
    if value is None:
        return NOTHING
    digits, shown = _scaled(value, unit)
    return f"{digits} {shown}".rstrip()


def transition(old: float | None, new: float | None, unit: str = "1") -> str:
    """As 128 -> 158 us."""
    if old is None or new is None:
        return NOTHING
    (before, shown), (after, _) = _scaled(old, unit), _scaled(new, unit)
    return f"{before} -> {after} {shown}".rstrip()


def percent(share: float | None) -> str:
    """A share with its sign, as +1.2 %."""
    if share is None:
        return NOTHING
    return "0.0 %" if round(share, 3) == 0 else f"{100 * share:+,.1f} %"


def share(value: float | None) -> str:
    """A share that has no direction, as 1.2 %."""
    return NOTHING if value is None else f"{100 * value:,.1f} %"


def change(value: float | None, better: Better | None) -> str:
    """A change of a metric and what it means, as -50.0 %, worse."""
    if value is None or better is None or round(value, 3) == 0:
        return percent(value)
    worse = (value > 0) == (better is Better.LOWER)
    return f"{percent(value)}, {'worse' if worse else 'better'}"


def interval(ends: tuple[float, float] | None) -> str:
    """As -1.2 % to +3.4 %."""
    return NOTHING if ends is None else f"{percent(ends[0])} to {percent(ends[1])}"


def times(gain: float | None) -> str:
    """How many times better, as 1.25x."""
    return NOTHING if gain is None else f"{gain:.2f}x"


def times_interval(ends: tuple[float, float] | None) -> str:
    """As 1.21x to 1.29x."""
    return NOTHING if ends is None else f"{times(ends[0])} to {times(ends[1])}"


def _scaled(value: float, unit: str) -> tuple[str, str]:
    """Digits, and the unit they are in; a pure number has none."""
    if unit in ("bytes", "B"):
        return f"{value / 2**20:,.1f}", "MiB"
    digits = f"{value:,.0f}" if abs(value) >= 999.95 or value == int(value) else f"{value:.4g}"
    return digits, "" if unit == "1" else unit
