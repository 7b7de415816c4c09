"""What a report shows: plain immutable values, every number and word ready to be written down."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from baselines.records import Better, HotPath, Record, TestOutcome
from reports.differences import Difference
from reports.provenance import FactsView, RecordView

if TYPE_CHECKING:
    from baselines.gate.verdict import Judgement

# Worst first: the order in which a reader needs to see them.
VERDICTS = (
    "regressed",
    "invalid",
    "inconclusive",
    "not-comparable",
    "no-baseline",
    "improved",
    "unchanged",
)
NOT_JUDGED = "not-judged"


class StageState(StrEnum):
    """open: nothing of it ran. unproved: it ran, nothing failed, but a criterion lacks evidence."""

    FAILED = "failed"
    UNPROVED = "unproved"
    OPEN = "open"
    PASSED = "passed"


@dataclass(frozen=True, slots=True)
class CaseVerdict:
    """What the gate said of one metric of one case.

    effect, low, high: relative change and its 95 % interval, positive is worse. margin: what a
    change must exceed. p: one-sided, of "not worse", adjusted for the number of metrics judged.
    sigma_launch: standard deviation of a launch, as a share. None where nothing could be compared.
    ValueError for an unknown verdict.
    """

    verdict: str
    reason: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    p: float | None = None
    sigma_launch: float | None = None

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            msg = f"unknown verdict {self.verdict!r}; known: {', '.join(VERDICTS)}"
            raise ValueError(msg)

    @classmethod
    def of(cls, judgement: Judgement) -> CaseVerdict:
        return cls(
            verdict=judgement.verdict.value,
            reason=judgement.detail or judgement.reason.value,
            effect=judgement.effect,
            low=judgement.low,
            high=judgement.high,
            margin=judgement.margin,
            p=judgement.adjusted_p,
            sigma_launch=judgement.sigma,
        )


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A stage as suites/stages.toml has it. criteria: (id, what is to be proved)."""

    name: str
    title: str
    criteria: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class AcceptedVersion:
    """One entry of a stage's history: the records of its launches."""

    label: str
    launches: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """A point of a case's history. comparable: same machine, work and model as now."""

    label: str
    created: str
    comparable: bool


@dataclass(frozen=True, slots=True)
class MetricView:
    """One metric of one case.

    launches: samples of every launch, one a round. value: median of the launches' medians; low and
    high: of all rounds. baseline: value of the last accepted version that compares. history: value
    of each version of the case. judged: whether the gate may judge it.
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
    history: tuple[float | None, ...]
    verdict: CaseVerdict | None

    @property
    def verdict_word(self) -> str:
        return NOT_JUDGED if self.verdict is None else self.verdict.verdict

    @property
    def change(self) -> float | None:
        """Relative change, positive is worse: the gate's estimate, else the ratio of the values."""
        if self.verdict is not None and self.verdict.effect is not None:
            return self.verdict.effect
        if not self.value or not self.baseline or self.value < 0 or self.baseline < 0:
            return None
        worse = self.better is Better.LOWER
        return (self.value / self.baseline if worse else self.baseline / self.value) - 1


@dataclass(frozen=True, slots=True)
class CaseView:
    """One benchmark with all its launches. anchor: unique in the report, safe as an id.

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
        order = (*VERDICTS, NOT_JUDGED)
        judged = [metric for metric in self.metrics if metric.judged]
        return min(judged, key=lambda metric: order.index(metric.verdict_word), default=None)

    @property
    def verdict_word(self) -> str:
        if self.invalid:
            return "invalid"
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
    """state: proved, failed or unproved, over all records of the stage."""

    name: str
    sentence: str
    state: str
    tests: tuple[TestOutcome, ...]

    def count(self, outcome: str) -> int:
        return sum(test.outcome == outcome for test in self.tests)

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
                cases=len(cases),
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

    def criteria_in(self, state: str) -> tuple[CriterionView, ...]:
        return tuple(criterion for criterion in self.criteria if criterion.state == state)

    @property
    def verdict_counts(self) -> tuple[tuple[str, int], ...]:
        """Verdicts of the cases that occur, worst first."""
        return count_verdicts(self.cases)


@dataclass(frozen=True, slots=True)
class LayoutRow:
    """One metric of the same work on both layouts. gain: above 1 the block layout is better."""

    block: CaseView
    slot: CaseView
    metric: str
    unit: str
    better: Better
    block_value: float | None
    slot_value: float | None
    gain: float | None


@dataclass(frozen=True, slots=True)
class PeerRow:
    """One quantity of the engine and of a peer in the same case. gain: above 1 ours is better."""

    case: CaseView
    quantity: str
    unit: str
    better: Better
    peer: str
    ours: float | None
    theirs: float | None
    gain: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """created: of the newest record, so that the same records give the same bytes.

    unstaged: cases of records that were made for no stage.
    """

    created: str
    stages: tuple[StageView, ...]
    unstaged: tuple[CaseView, ...]
    layouts: tuple[LayoutRow, ...]
    peers: tuple[PeerRow, ...]
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
    return tuple((word, words.count(word)) for word in (*VERDICTS, NOT_JUDGED) if words.count(word))


def _at(launch: tuple[float | None, ...], place: int) -> float | None:
    return launch[place] if place < len(launch) else None
