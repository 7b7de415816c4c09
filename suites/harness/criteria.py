"""Which criteria the tests of a run proved."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import pytest

from baselines.records import TestOutcome
from suites.harness.stages import Stage

# Criteria travel on the reports of a test as properties: JUnit files show them, and they reach the
# controlling process when the tests run in others.
PROPERTY = "criterion"


class State(StrEnum):
    """unproved: nothing that proves the criterion ran, or an option left some of it out."""

    PROVED = "proved"
    FAILED = "failed"
    UNPROVED = "unproved"


@dataclass(frozen=True)
class Evidence:
    """Numbers of test cases behind one criterion; left_out: by an option, or for want of one."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    left_out: int = 0

    @property
    def state(self) -> State:
        if self.failed:
            return State.FAILED
        return State.PROVED if self.passed and not self.left_out else State.UNPROVED


def criteria_of(item: pytest.Item, stages: Mapping[str, Stage]) -> list[str]:
    """Ids a test proves. stages: by criterion.

    Raises pytest.UsageError for an id that no stage has, or one that does not run the test.
    """
    ids = [str(criterion) for mark in item.iter_markers("criterion") for criterion in mark.args]
    for criterion in ids:
        if criterion not in stages:
            msg = f"{item.nodeid}: criterion {criterion!r} is not in stages.toml"
            raise pytest.UsageError(msg)
        stage = stages[criterion]
        if not stage.covers(item.path, item.config.rootpath):
            msg = f"{item.nodeid}: {stage.name} does not run it, so it cannot prove {criterion}"
            raise pytest.UsageError(msg)
    return [criterion for criterion in ids if stages[criterion].is_about(item)]


def noted_criteria(case: pytest.Item | pytest.TestReport) -> list[str]:
    """Ids that were written onto a selected test, and travel on its reports."""
    return [str(criterion) for name, criterion in case.user_properties if name == PROPERTY]


class EvidenceCollector:
    """Outcomes of the cases of a run, by criterion."""

    def __init__(self) -> None:
        # criterion -> case -> outcome; a case reports its setup, call and teardown separately.
        self._outcomes: dict[str, dict[str, TestOutcome]] = defaultdict(dict)

    def add_left_out(
        self, criteria: Iterable[str], nodeid: str, reason: str = "left out by an option"
    ) -> None:
        for criterion in criteria:
            self._outcomes[criterion][nodeid] = TestOutcome(
                test=nodeid, outcome="left-out", seconds=0.0, reason=reason
            )

    def add_report(self, report: pytest.TestReport) -> None:
        if report.passed and report.when != "call":
            return
        for criterion in noted_criteria(report):
            cases = self._outcomes[criterion]
            known = cases.get(report.nodeid)
            if known is None or known.outcome != "failed":
                cases[report.nodeid] = TestOutcome(
                    test=report.nodeid,
                    outcome=report.outcome,
                    seconds=round(report.duration, 4),
                    reason=_reason(report),
                )

    def outcomes(self, criterion: str) -> tuple[TestOutcome, ...]:
        return tuple(self._outcomes[criterion].values())

    def why_unproved(self, criterion: str) -> str:
        """What kept most of the tests of a criterion from running."""
        reasons = Counter(
            case.reason or case.outcome
            for case in self._outcomes[criterion].values()
            if case.outcome != "passed"
        )
        [[reason, _]] = reasons.most_common(1) or [("no test of this run is about it", 0)]
        return reason

    def evidence(self, criterion: str) -> Evidence:
        counts = Counter(case.outcome for case in self._outcomes[criterion].values())
        return Evidence(
            passed=counts["passed"],
            failed=counts["failed"],
            skipped=counts["skipped"],
            left_out=counts["left-out"],
        )


def _reason(report: pytest.TestReport) -> str | None:
    """Why a case was skipped, or the last line of why it failed."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    if report.failed:
        lines = report.longreprtext.strip().splitlines()
        return lines[-1] if lines else None
    return None


def write_table(
    terminal: pytest.TerminalReporter, stage: Stage, collector: EvidenceCollector
) -> None:
    colours = {State.PROVED: "green", State.FAILED: "red", State.UNPROVED: "yellow"}
    states = []
    width = max(map(len, stage.criteria))
    terminal.section(f"{stage.name}: {stage.title}")
    for criterion, sentence in stage.criteria.items():
        evidence = collector.evidence(criterion)
        states.append(evidence.state)
        counts = (
            f"{evidence.passed:4} passed {evidence.failed:3} failed {evidence.skipped:3} skipped "
            f"{evidence.left_out:3} left out"
        )
        terminal.write(f"{criterion:{width}}  ")
        terminal.write(f"{evidence.state:8}", **{colours[evidence.state]: True})
        terminal.write(f" {counts}  {sentence}\n")
        if evidence.state is State.UNPROVED:
            terminal.write_line(f"{'':{width}}  unproved: {collector.why_unproved(criterion)}")
    proved = states.count(State.PROVED)
    verdict = "passed" if proved == len(states) else "failed" if State.FAILED in states else "open"
    terminal.write_line(f"{stage.name} {verdict}: {proved} of {len(states)} criteria proved")
