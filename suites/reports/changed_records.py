"""Records of the sample, changed: what a test of reports looks at and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from stagegate_baselines.records import Evidence, Record
from stagegate_baselines.records import (
    TestOutcome as Result,  # a name pytest does not take for a test
)
from stagegate_baselines.states import CriterionState
from stagegate_reports.model import StagePlan
from suites.reports.sample_records import Sample

PLAN = StagePlan("stage0", "First", (("s0.a", "a holds"), ("s0.b", "b holds")))

Outcome = Literal["passed", "failed", "skipped", "left-out"]


def evidence(criterion: str, state: CriterionState, **outcomes: Outcome) -> Evidence:
    tests = tuple(
        Result(test=name, outcome=outcome, seconds=0.1) for name, outcome in outcomes.items()
    )
    return Evidence(criterion=criterion, sentence="words", state=state, tests=tests)


def with_evidence(records: Sample, *found: Evidence) -> Record:
    return records.records[0].model_copy(update={"evidence": found, "cases": (), "telemetry": ()})


def with_case(records: Sample, *, launch: int = 1, record: int = 0, **changes: object) -> Record:
    """A record of one case, changed."""
    base = records.records[record]
    case = base.cases[0].model_copy(update=changes)
    return base.model_copy(update={"cases": (case,), "launch": launch})


def with_samples(records: Sample, samples: Sequence[float], *, launch: int = 1) -> Record:
    case = records.records[0].cases[0]
    metric = next(metric for metric in case.metrics if metric.name == "tokens_per_sec")
    changed = metric.model_copy(update={"samples": tuple(samples)})
    return with_case(records, launch=launch, metrics=(changed,))
