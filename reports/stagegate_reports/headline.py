"""The answer of a report in sentences: which stages are done, and what stands against it."""

from __future__ import annotations

from dataclasses import dataclass

from stagegate_baselines.states import CriterionState, StageState, Verdict
from stagegate_reports.formatting import count, joined
from stagegate_reports.model import Report

# What keeps a reader from trusting a speed; the rest of the verdicts need no attention.
_PROBLEMS = (
    Verdict.INVALID, Verdict.REGRESSED, Verdict.INCONCLUSIVE, Verdict.NOT_COMPARABLE,
)  # fmt: skip
_LONGEST = 6


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to look at. anchor: where in the page."""

    sign: str
    anchor: str
    subject: str
    text: str


def answer(report: Report) -> str:
    """How many stages are in which state."""
    total = len(report.stages)
    passed = len(report.stages_in(StageState.PASSED))
    if total and passed == total:
        return f"All {count(total, 'stage')} passed."
    if total and len(report.stages_in(StageState.OPEN)) == total:
        return "No stage has run."
    parts = [f"{passed} of {count(total, 'stage')} passed"]
    for state in (StageState.FAILED, StageState.UNPROVED, StageState.OPEN):
        if found := len(report.stages_in(state)):
            parts.append(f"{found} {state.value}")
    return f"{joined(parts)}."


def speed(report: Report) -> str:
    """How many cases have which verdict."""
    if not report.cases:
        return "No benchmark case is recorded."
    parts = [f"{found} {word.replace('-', ' ')}" for word, found in report.verdict_counts]
    return f"{count(len(report.cases), 'benchmark case')}: {joined(parts)}."


def problems(report: Report) -> tuple[tuple[Problem, ...], int]:
    """The gravest few, and how many more there are."""
    found = [
        Problem("failed", f"stage-{stage.name}", criterion.name, criterion.sentence)
        for stage in report.stages
        for criterion in stage.criteria_in(CriterionState.FAILED)
    ]
    for word in _PROBLEMS:
        found += [
            Problem(word, case.anchor, case.name, f"{case.stage or 'no stage'}, {case.suite}")
            for case in report.cases
            if case.verdict_word == word
        ]
    return tuple(found[:_LONGEST]), max(0, len(found) - _LONGEST)
