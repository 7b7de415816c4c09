"""Numbers and states in words. Negative numbers carry a true minus sign."""

from __future__ import annotations

from stagegate_baselines import quantities
from stagegate_baselines.records import Better
from stagegate_reports.model import NOT_JUDGED

# A sign beside every word, for readers who do not see its colour.
SIGNS = {
    "passed": "✓",
    "proved": "✓",
    "failed": "✗",
    "unproved": "?",
    "open": "○",
    "skipped": "–",
    "left-out": "–",
    "regressed": "✗",
    "invalid": "!",
    "inconclusive": "?",
    "not-comparable": "≠",
    "no-baseline": "+",
    "improved": "★",
    "unchanged": "=",
    NOT_JUDGED: "·",
}


def number(value: float | None, unit: str = "1") -> str:
    """Four significant digits and the unit; a dash for nothing."""
    return _typeset(quantities.number(value, unit))


def percent(value: float | None) -> str:
    """A share with its sign, as +1.2 %."""
    return _typeset(quantities.percent(value))


def share(value: float | None) -> str:
    """A share that has no direction, as 1.2 %."""
    return _typeset(quantities.share(value))


def change(value: float | None, better: Better) -> str:
    """A change of a metric and what it means, as +1.2 %, worse."""
    return _typeset(quantities.change(value, better))


def interval(ends: tuple[float, float] | None) -> str:
    """As +1.2 % to +3.4 %."""
    return _typeset(quantities.interval(ends))


def times(gain: float | None) -> str:
    """How many times better, as 1.25×."""
    return _typeset(quantities.times(gain)).replace("x", "×")


def times_interval(ends: tuple[float, float] | None) -> str:
    """As 1.21× to 1.29×."""
    return _typeset(quantities.times_interval(ends)).replace("x", "×")


def seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1 else f"{1000 * value:.0f} ms"


def count(amount: int, one: str, many: str | None = None) -> str:
    """The number and its noun: 1 case, 2 cases."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def joined(words: list[str]) -> str:
    """a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _typeset(text: str) -> str:
    return "–" if text == quantities.NOTHING else text.replace("-", "−")
