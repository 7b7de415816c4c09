"""Numbers and states in words. Negative numbers carry a true minus sign."""

from __future__ import annotations

from reports.model import NOT_JUDGED, CaseVerdict

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
    if value is None:
        return "–"
    if unit in ("bytes", "B"):
        return f"{value / 2**20:,.1f} MiB".replace("-", "−")
    digits = f"{value:,.0f}" if abs(value) >= 999.95 or value == int(value) else f"{value:.4g}"
    return (digits if unit == "1" else f"{digits} {unit}").replace("-", "−")


def percent(value: float | None) -> str:
    """A share with its sign, as +1.2 %."""
    if value is None:
        return "–"
    if round(value, 3) == 0:
        return "0.0 %"
    return f"{100 * value:+.1f} %".replace("-", "−")


def share(value: float | None) -> str:
    """A share that has no direction, as 1.2 %."""
    return "–" if value is None else f"{100 * value:.1f} %"


def change(value: float | None) -> str:
    """A relative change, positive is worse, in words."""
    if value is None:
        return "–"
    if round(value, 3) == 0:
        return "0.0 %"
    return f"{abs(100 * value):.1f} % {'worse' if value > 0 else 'better'}"


def interval(verdict: CaseVerdict | None) -> str:
    if verdict is None or verdict.low is None or verdict.high is None:
        return "–"
    return f"{percent(verdict.low)} to {percent(verdict.high)}"


def times(gain: float | None) -> str:
    """How many times better, as 1.25×."""
    return "–" if gain is None else f"{gain:.2f}×"


def seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1 else f"{1000 * value:.0f} ms"


def count(amount: int, one: str, many: str | None = None) -> str:
    """The number and its noun: 1 case, 2 cases."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def joined(words: list[str]) -> str:
    """a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
