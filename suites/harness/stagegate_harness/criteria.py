"""Which criteria the tests of a run proved."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import pytest

from stagegate_baselines.evidence import count, file_of, missing_words, state_of
from stagegate_baselines.records import Evidence, TestOutcome
from stagegate_baselines.states import CriterionState, StageState
from stagegate_harness.stages import Stage

# Criteria travel on the reports of a test as properties: JUnit files show them, and they reach the
# controlling process when the tests run in others.
PROPERTY = "criterion"
# Why a test did not run, where the run says nothing of it.
ENDED = "the run ended before it"
UNKNOWN = "the run did not find out which tests are behind it"


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
        if not stage.covers(item.path):
            msg = f"{item.nodeid}: {stage.name} does not run it, so it cannot prove {criterion}"
            raise pytest.UsageError(msg)
    return [criterion for criterion in ids if stages[criterion].is_about(item)]


def noted_criteria(case: pytest.Item | pytest.TestReport) -> list[str]:
    """Ids that were written onto a selected test, and travel on its reports."""
    return [str(criterion) for name, criterion in case.user_properties if name == PROPERTY]


class EvidenceCollector:
    """Outcomes of the cases of a run, by criterion.

    is_whole: whether every test behind the criteria of the stage was added. interrupted: why the
    run ended before its last test.
    """

    def __init__(self) -> None:
        self.is_whole = False
        self.interrupted: str | None = None
        # criterion -> test -> why it is left out, or None where it is to run.
        self._members: dict[str, dict[str, str | None]] = defaultdict(dict)
        # criterion -> case -> outcome; a case reports its setup, call and teardown separately.
        self._outcomes: dict[str, dict[str, TestOutcome]] = defaultdict(dict)

    def add(self, criteria: Iterable[str], nodeid: str, left_out: str | None = None) -> None:
        """A test behind these criteria. left_out: why it proves nothing in this run."""
        for criterion in criteria:
            self._members[criterion][nodeid] = left_out

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

    def members(self) -> dict[str, dict[str, str | None]]:
        """What was added; a worker of pytest-xdist sends it to the process that started it."""
        return {criterion: dict(tests) for criterion, tests in self._members.items()}

    def outcomes(self, criterion: str) -> tuple[TestOutcome, ...]:
        """Of each test that ran, then by file and reason of those that were left out."""
        ran = self._outcomes[criterion]
        left_out: Counter[tuple[str, str]] = Counter()
        for nodeid, reason in self._members[criterion].items():
            if nodeid not in ran:
                left_out[file_of(nodeid), reason or f"not run: {self.interrupted or ENDED}"] += 1
        return (
            *ran.values(),
            *(
                TestOutcome(test=file, outcome="left-out", seconds=0.0, reason=reason, cases=cases)
                for (file, reason), cases in left_out.items()
            ),
        )

    def why_unproved(self, criterion: str) -> str:
        """What kept tests of a criterion from running, the most frequent reason first."""
        reasons: Counter[str] = Counter()
        for case in self.outcomes(criterion):
            if case.outcome != "passed":
                reasons[case.reason or case.outcome] += case.cases
        if not reasons:
            return UNKNOWN if not self.is_whole else "no test of this stage is about it"
        return "; ".join(
            f"{cases} {reason}" if len(reasons) > 1 else reason
            for reason, cases in reasons.most_common(3)
        )

    def evidence(self, criterion: str, sentence: str) -> Evidence:
        """sentence: what the criterion says."""
        tests = self.outcomes(criterion)
        return Evidence(
            criterion=criterion,
            sentence=sentence,
            state=state_of(tests, whole=self.is_whole),
            tests=tests,
            whole=self.is_whole,
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
    colours = dict(zip(CriterionState, ("red", "yellow", "green"), strict=True))
    states = []
    width = max(map(len, stage.criteria))
    terminal.section(f"{stage.name}: {stage.title}")
    for criterion, sentence in stage.criteria.items():
        evidence = collector.evidence(criterion, sentence)
        states.append(evidence.state)
        passed, failed, skipped, left_out = (
            count(evidence.tests, word) for word in ("passed", "failed", "skipped", "left-out")
        )
        counts = f"{passed:4} passed {failed:3} failed {skipped:3} skipped {left_out:3} left out"
        terminal.write(f"{criterion:{width}}  ")
        terminal.write(f"{evidence.state:8}", **{colours[evidence.state]: True})
        terminal.write(f" {counts}  {sentence}\n")
        if evidence.state is CriterionState.UNPROVED:
            terminal.write_line(f"{'':{width}}  unproved: {collector.why_unproved(criterion)}")
            if left_out and passed:
                terminal.write_line(f"{'':{width}}  missing: {missing_words(evidence.tests)}")
    proved = states.count(CriterionState.PROVED)
    if proved == len(states):
        verdict = StageState.PASSED
    else:
        verdict = StageState.FAILED if CriterionState.FAILED in states else StageState.OPEN
    terminal.write_line(f"{stage.name} {verdict}: {proved} of {len(states)} criteria proved")
