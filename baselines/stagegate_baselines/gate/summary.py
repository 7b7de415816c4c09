"""What a gate found, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from stagegate_baselines import escaping
from stagegate_baselines.gate.conditions import Clock
from stagegate_baselines.gate.escalation import GateResult
from stagegate_baselines.gate.findings import Finding
from stagegate_baselines.gate.verdict import Reason
from stagegate_baselines.quantities import change, interval, share, transition
from stagegate_baselines.states import Verdict

# They neither pass nor accuse; a strict gate fails on them.
UNDECIDED = (Verdict.INCONCLUSIVE, Verdict.NOT_COMPARABLE)

_OUTCOMES = {0: "passed", 1: "failed", 3: "inconclusive", 4: "not comparable"}

EXPLANATIONS = {
    Reason.WORSE_BEYOND_MARGIN: "worse by more than the margin, and the interval excludes zero; "
    "five fresh launches a side showed it again",
    Reason.BETTER_BEYOND_MARGIN: "better by more than the margin, and the interval excludes zero; "
    "five fresh launches a side showed it again",
    Reason.WITHIN_FLOOR: "the whole interval lies within the floor: equivalence is shown",
    Reason.INTERVAL_TOO_WIDE: "the launches differ too much among themselves to say either way; "
    "take more launches, or make the case quieter",
    Reason.HOST_DISTURBED: "a fixed piece of work took differently long beside the launches: the "
    "host was busy with something else; run the gate again on a quiet host",
    Reason.DEVICE_DISTURBED: "a fixed piece of work on the GPU took differently long beside the "
    "launches: something else was running there, or its clocks changed; run the gate again when "
    "nothing else uses it",
    Reason.BELOW_ABSOLUTE_FLOOR: "the difference is smaller than what matters for this metric",
    Reason.TWO_SPEEDS: "a launch ran at another speed, which all stored launches may have met",
    Reason.NOT_CONFIRMED: "it looked changed, but fresh launches did not show it, or time ran out",
    Reason.TOO_FEW_LAUNCHES: "an interval needs at least two launches a side",
    Reason.RUN_INVALID: "a run broke its own conditions twice; its numbers mean nothing",
    Reason.NOT_POSITIVE: "a rate or time is missing, zero or negative",
    Reason.OTHER_MACHINE: "the sides ran on different machines",
    Reason.OTHER_WORK: "the benchmark, its parameters or the checkpoint changed between the sides",
    Reason.NEW_CASE: "the base does not have this case or metric",
    Reason.CASE_REMOVED: "the base has this case and the new side has not",
    Reason.INCOMPLETE: "some launches measured it and some did not",
}

BY_CPU_TIME = "judged by CPU time: the host was disturbed"

_HEADINGS = (
    "case", "metric", "verdict", "base -> new", "change", "95 % interval", "margin", "launch sd",
    "p",
)  # fmt: skip


def text_table(found: Sequence[Finding]) -> str:
    rows = [_HEADINGS, *(tuple(map(escaping.one_line, _cells(item))) for item in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def markdown_table(found: Sequence[Finding]) -> str:
    rows = [tuple(map(escaping.markdown, row)) for row in (_HEADINGS, *map(_cells, found))]
    rows.insert(1, tuple("---" for _ in _HEADINGS))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def clock_note(found: Sequence[Finding]) -> str:
    """What is judged by CPU time, as a line below the table; empty where nothing is."""
    names = [f"{item.case} {item.metric}" for item in found if item.judged_by is Clock.CPU]
    return f"{BY_CPU_TIME}: {', '.join(names)}" if names else ""


def headline(result: GateResult) -> str:
    """One sentence: what came of it."""
    counts = Counter(item.verdict for item in result.judgements)
    found = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])
    words = f"{_OUTCOMES[result.exit_code]}: {found or 'nothing was judged'}"
    if result.failed_criteria:
        words += f"; failed criteria: {', '.join(result.failed_criteria)}"
    if result.advisory:
        words += "; advice only, the baseline ran on another machine of this kind"
    if result.out_of_time:
        words += "; the time budget was used up"
    return f"{words} ({result.launches} launches a side)"


def sentence(item: Finding) -> str:
    """Verdict, numbers and reason of one finding."""
    numbers = ""
    if item.change is not None:
        medians = transition(item.base_median, item.new_median, item.unit)
        numbers = f", {medians} ({change(item.change, item.better)})"
    detail = f" ({item.detail})" if item.detail else ""
    clock = f"; {BY_CPU_TIME}" if item.judged_by is Clock.CPU else ""
    return f"{item.verdict.value}{numbers}: {EXPLANATIONS[item.reason]}{detail}{clock}"


def is_red(item: Finding, *, advisory: bool = False, strict: bool = False) -> bool:
    """Whether a finding fails the gate. strict: what says nothing does so too."""
    if item.verdict is Verdict.REGRESSED:
        return not advisory
    if strict and item.verdict in UNDECIDED:
        return not advisory or item.verdict is Verdict.NOT_COMPARABLE
    return item.verdict is Verdict.INVALID


def _cells(item: Finding) -> tuple[str, ...]:
    return (
        item.case,
        item.metric_by_clock,
        item.verdict.value,
        transition(item.base_median, item.new_median, item.unit),
        change(item.change, item.better),
        interval(item.interval),
        interval(item.margin),
        share(item.launch_sd),
        "-" if item.p is None else f"{item.p:.3f}",
    )
