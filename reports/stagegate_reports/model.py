"""What a report shows: plain immutable values, every number and word ready to be written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stagegate_baselines.evidence import count, missing_words
from stagegate_baselines.gate.conditions import Clock
from stagegate_baselines.gate.findings import Finding
from stagegate_baselines.gate.summary import BY_CPU_TIME
from stagegate_baselines.records import Better, HotPath, Record, TestOutcome
from stagegate_baselines.states import CriterionState, StageState, Verdict
from stagegate_reports.differences import Difference
from stagegate_reports.provenance import FactsView, RecordView

NOT_JUDGED = "not-judged"
# Worst first: the order in which a reader needs to see them.
VERDICTS = (*Verdict, NOT_JUDGED)


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A stage as suites/stages.toml has it. criteria: (id, what is to be proved)."""

    name: str
    title: str
    criteria: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class AcceptedVersion:
    """One entry of a stage's history: the records of its launches.

    of_gate: the base that a gate launched, which nobody need have accepted.
    """

    label: str
    launches: tuple[Record, ...]
    of_gate: bool = False


@dataclass(frozen=True, slots=True)
class GateRun:
    """A gate of a stage: the launches of both sides, and what it found by case and metric.

    base_name: what it compared with. base: empty where its launches are in the store.
    """

    stage: str
    base_name: str
    base: tuple[Record, ...]
    new: tuple[Record, ...]
    found: Mapping[tuple[str, str], Finding]


@dataclass(frozen=True, slots=True)
class Version:
    """A point of a case's history. comparable: same machine, work and model as now."""

    label: str
    created: str
    comparable: bool


@dataclass(frozen=True, slots=True)
class MetricView:
    """One metric of one case.

    launches: samples of every launch, one a round; low and high: of all rounds. history: value of
    each version of the case. judged: whether the gate may judge it.

    value, baseline and change are of the launches that the case names in `compared`. A value is the
    median of the launches' medians; change: relative, of the metric itself, as the gate estimated
    it, else the ratio of the two.
    """

    name: str
    unit: str
    better: Better
    judged: bool
    launches: tuple[tuple[float | None, ...], ...]
    value: float | None
    low: float | None
    high: float | None
    baseline: float | None
    change: float | None
    history: tuple[float | None, ...]
    verdict: Finding | None

    @property
    def name_by_clock(self) -> str:
        """With the clock, where value, baseline and change are not by the one on the wall."""
        return self.name if self.verdict is None else self.verdict.metric_by_clock

    @property
    def verdict_word(self) -> str:
        return NOT_JUDGED if self.verdict is None else self.verdict.verdict.value

    @property
    def reason(self) -> str:
        """The words behind an invalid run, else why the verdict is what it is; and by which clock
        it was judged where that is not the one on the wall."""
        if self.verdict is None:
            return ""
        words = self.verdict.detail or self.verdict.reason.value.replace("-", " ")
        return f"{words}; {BY_CPU_TIME}" if self.verdict.judged_by is Clock.CPU else words


@dataclass(frozen=True, slots=True)
class CaseView:
    """One benchmark with all its launches. anchor: unique in the report, safe as an id.

    compared: which launches with which: those of the gate that launched the case, else all at hand
    with the last accepted version that compares.
    differences: of the environment, from the version the baseline is of. hot_path: of the first
    launch that was traced.
    """

    anchor: str
    stage: str | None
    suite: str
    name: str
    params: tuple[tuple[str, str], ...]
    workload_hash: str
    model_digest: str | None
    machine_key: str
    invalid: tuple[str, ...]
    launches: tuple[str, ...]
    metrics: tuple[MetricView, ...]
    versions: tuple[Version, ...]
    baseline_label: str | None
    compared: str
    differences: tuple[Difference, ...]
    hot_path: HotPath | None

    @property
    def rounds(self) -> tuple[tuple[str, tuple[float | None, ...]], ...]:
        """Every round of every launch: its name, and a value or None per metric."""
        return tuple(
            (f"{label}, round {place + 1}", tuple(_at(launch, place) for launch in side))
            for label, side in zip(
                self.launches,
                zip(*(metric.launches for metric in self.metrics), strict=True),
                strict=True,
            )
            for place in range(max(map(len, side)))
        )

    @property
    def lead(self) -> MetricView | None:
        """The judged metric with the worst verdict speaks for the case."""
        judged = [metric for metric in self.metrics if metric.judged]
        return min(judged, key=lambda metric: VERDICTS.index(metric.verdict_word), default=None)

    @property
    def verdict_word(self) -> str:
        if self.invalid:
            return Verdict.INVALID.value
        return NOT_JUDGED if self.lead is None else self.lead.verdict_word


@dataclass(frozen=True, slots=True)
class TestRow:
    """Cases of one test that ended alike. name: of the test, or of the case where it is alone."""

    name: str
    outcome: str
    cases: int
    seconds: float
    reason: str | None


@dataclass(frozen=True, slots=True)
class CriterionView:
    """state: over all records of the stage."""

    name: str
    sentence: str
    state: CriterionState
    tests: tuple[TestOutcome, ...]

    def count(self, outcome: str) -> int:
        return count(self.tests, outcome)

    @property
    def size(self) -> int:
        return sum(test.cases for test in self.tests)

    @property
    def missing(self) -> str:
        """What was left out of a criterion that is not proved; empty where nothing was."""
        return "" if self.state is CriterionState.PROVED else missing_words(self.tests)

    @property
    def rows(self) -> tuple[TestRow, ...]:
        """As a page has room for: every failed case, of the others one row a test."""
        groups: dict[tuple[str, str, str | None], list[TestOutcome]] = {}
        for case in self.tests:
            name = case.test if case.outcome == "failed" else case.test.partition("[")[0]
            groups.setdefault((name, case.outcome, case.reason), []).append(case)
        return tuple(
            TestRow(
                name=name if len(cases) > 1 else cases[0].test,
                outcome=outcome,
                cases=sum(case.cases for case in cases),
                seconds=sum(case.seconds for case in cases),
                reason=reason,
            )
            for (name, outcome, reason), cases in groups.items()
        )


@dataclass(frozen=True, slots=True)
class Picture:
    """A screenshot that a test took. caption: what it shows. png: the bytes of the file."""

    caption: str
    png: bytes


@dataclass(frozen=True, slots=True)
class StageView:
    """notes: what a reader must know before trusting it, as sentences."""

    name: str
    title: str
    state: StageState
    criteria: tuple[CriterionView, ...]
    cases: tuple[CaseView, ...]
    notes: tuple[str, ...]
    pictures: tuple[Picture, ...]

    def criteria_in(self, state: CriterionState | str) -> tuple[CriterionView, ...]:
        return tuple(criterion for criterion in self.criteria if criterion.state == state)

    @property
    def verdict_counts(self) -> tuple[tuple[str, int], ...]:
        """Verdicts of the cases that occur, worst first."""
        return count_verdicts(self.cases)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of the same work under two values of a parameter.

    word: the value that `other` has. gain: above 1 `case` is better. interval: of the gain, of
    95 %; None where the two were not measured in the same rounds.
    """

    case: CaseView
    other: CaseView
    word: str
    metric: str
    unit: str
    better: Better
    value: float | None
    other_value: float | None
    gain: float | None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """title: of the project. created: of the newest record, so that equal records give equal bytes.

    unstaged: cases of records that were made for no stage. layouts: block cases beside slot cases.
    peers: cases of this project's engine beside those of others.
    """

    title: str
    created: str
    stages: tuple[StageView, ...]
    unstaged: tuple[CaseView, ...]
    layouts: tuple[Comparison, ...]
    peers: tuple[Comparison, ...]
    machines: tuple[FactsView, ...]
    environments: tuple[FactsView, ...]
    records: tuple[RecordView, ...]

    @property
    def cases(self) -> tuple[CaseView, ...]:
        staged = tuple(case for stage in self.stages for case in stage.cases)
        return staged + self.unstaged

    @property
    def verdict_counts(self) -> tuple[tuple[str, int], ...]:
        return count_verdicts(self.cases)

    def stages_in(self, state: StageState) -> tuple[StageView, ...]:
        return tuple(stage for stage in self.stages if stage.state is state)


def count_verdicts(cases: tuple[CaseView, ...]) -> tuple[tuple[str, int], ...]:
    words = [case.verdict_word for case in cases]
    return tuple((word, words.count(word)) for word in VERDICTS if words.count(word))


def _at(launch: tuple[float | None, ...], place: int) -> float | None:
    return launch[place] if place < len(launch) else None
