"""What the evidence of records adds up to: states of stages and of their criteria."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from stagegate_baselines.measure_command import as_launch
from stagegate_baselines.records import Evidence
from stagegate_baselines.records import (
    TestOutcome as Result,  # a name pytest does not take for a test
)
from stagegate_baselines.states import CriterionState, StageState
from stagegate_reports import html, markdown
from stagegate_reports.assemble import assemble
from stagegate_reports.headline import answer, problems
from stagegate_reports.model import CriterionView, StagePlan
from suites.reports.changed_records import PLAN, Outcome, evidence, with_case, with_evidence
from suites.reports.sample_records import Sample


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((CriterionState.PROVED, CriterionState.PROVED), StageState.PASSED),
        ((CriterionState.PROVED, CriterionState.UNPROVED), StageState.UNPROVED),
        ((CriterionState.PROVED,), StageState.UNPROVED),
        ((CriterionState.FAILED, CriterionState.UNPROVED), StageState.FAILED),
        ((), StageState.UNPROVED),
    ],
)
def test_state_of_a_stage(
    records: Sample, states: tuple[CriterionState, ...], expected: StageState
) -> None:
    found = [evidence(name, state) for name, state in zip(("s0.a", "s0.b"), states, strict=False)]
    (stage,) = assemble([PLAN], [with_evidence(records, *found)]).stages
    assert stage.state is expected
    assert [criterion.name for criterion in stage.criteria] == ["s0.a", "s0.b"]


def test_a_stage_nobody_ran_is_open(records: Sample) -> None:
    other = StagePlan("stage1", "Second", (("s1.a", "holds"),))
    report = assemble(
        [PLAN, other], [with_evidence(records, evidence("s0.a", CriterionState.PROVED))]
    )
    assert report.stages[1].state is StageState.OPEN
    assert answer(report) == "0 of 2 stages passed, 1 unproved and 1 open."


def test_all_stages_passed(records: Sample) -> None:
    found = (evidence("s0.a", CriterionState.PROVED), evidence("s0.b", CriterionState.PROVED))
    report = assemble([PLAN], [with_evidence(records, *found)])
    assert answer(report) == "All 1 stage passed."
    assert problems(report) == ((), 0)


def part(ran: Sequence[str], left_out: int, *, whole: bool = True) -> Evidence:
    """Evidence of tests that passed, and of others in the same file that were left out."""
    tests = [Result(test=f"a.py::test[{name}]", outcome="passed", seconds=0.1) for name in ran]
    if left_out:
        tests.append(
            Result(test="a.py", outcome="left-out", seconds=0.0, cases=left_out, reason="by -k")
        )
    return Evidence(
        criterion="s0.a",
        sentence="words",
        state=CriterionState.UNPROVED,
        tests=tuple(tests),
        whole=whole,
    )


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        ([part(["block"], 1)], 1),
        ([part(["block"], 1), part(["slot"], 1)], 0),
        ([part(["block"], 1), part(["block"], 1)], 1),  # the same half twice
        ([part(["a", "b"], 3), part(["b", "c"], 3), part(["d"], 4)], 1),
        ([part(["a", "b"], 3), part(["b", "c"], 3), part(["d", "e"], 3)], 0),
        # One record that knows the whole is enough.
        ([part(["a"], 2), part(["b", "c"], 0, whole=False)], 0),
        ([part(["a"], 0, whole=False), part(["b"], 0, whole=False)], None),
    ],
)
def test_parts_of_the_evidence_add_up_when_they_cover_all(
    records: Sample, parts: list[Evidence], missing: int | None
) -> None:
    """--kv-layout block in one run and slot in the next are all the evidence there is."""
    for order in (parts, parts[::-1]):
        runs = [with_evidence(records, item) for item in order]
        criterion = assemble([PLAN], runs).stages[0].criteria[0]
        assert criterion.state == ("proved" if missing == 0 else "unproved")
        assert criterion.count("left-out") == (missing or 0)
        assert criterion.missing == (f"a.py ({missing})" if missing else "")


def test_a_launch_of_the_store_completes_no_proof(records: Sample) -> None:
    """It keeps no list of what passed, so it cannot say which tests are behind a criterion."""
    launch = as_launch(with_evidence(records, part(["a"], 1)), 1)
    other = with_evidence(records, part(["a"], 0, whole=False))
    assert assemble([PLAN], [launch, other]).stages[0].criteria[0].state == "unproved"


def test_the_report_says_which_part_is_missing(records: Sample) -> None:
    report = assemble([PLAN], [with_evidence(records, part(["block"], 3))])
    assert "missing: a.py (3)" in markdown.render(report)
    assert re.search(r">4 tests: 1 passed, 3 left out<", html.render(report))


@pytest.mark.parametrize(
    "change",
    [
        {"device": "cuda"},
        {"model_digest": "0" * 16},
        {"machine_key": "0" * 16},
        {"git_dirty": True},
        {"git_revision": None},
        {"git_revision": "a" * 40},
    ],
)
def test_parts_of_what_is_not_the_same_do_not_add_up(
    records: Sample, change: dict[str, object]
) -> None:
    one, other = (with_evidence(records, part([name], 1)) for name in ("block", "slot"))
    of_tree = {name: value for name, value in change.items() if name.startswith("git_")}
    update = {name: value for name, value in change.items() if name not in of_tree}
    environment = one.environment.model_copy(update=of_tree)
    changed = other.model_copy(update={"environment": environment, **update})
    for order in ([one, changed], [changed, one], [changed, changed] if of_tree else []):
        if "git_revision" in change and change["git_revision"] and order[:1] == order[1:]:
            continue  # the same revision
        if order:
            assert assemble([PLAN], order).stages[0].criteria[0].state == "unproved"


def test_a_run_that_ended_early_is_noted(records: Sample) -> None:
    record = with_evidence(records, part(["block"], 3))
    record = record.model_copy(update={"interrupted": "stopping after 1 failures"})
    assert assemble([PLAN], [record]).stages[0].notes == (
        "A run ended early: stopping after 1 failures.",
    )


def test_one_failure_outweighs_a_proof(records: Sample) -> None:
    passed = with_evidence(records, evidence("s0.a", CriterionState.PROVED, test="passed"))
    failed = with_evidence(records, evidence("s0.a", CriterionState.FAILED, test="failed"))
    for order in ([passed, failed], [failed, passed]):
        criterion = assemble([PLAN], order).stages[0].criteria[0]
        assert criterion.state == "failed"
        assert [test.outcome for test in criterion.tests] == ["failed"]


def test_runs_of_different_criteria_add_up(records: Sample) -> None:
    """The suite in one run, and in another what waits to be asked for."""
    suite = (
        evidence("s0.a", CriterionState.PROVED, short="passed"),
        evidence("s0.b", CriterionState.UNPROVED, long="left-out"),
    )
    soak = (
        evidence("s0.a", CriterionState.UNPROVED),
        evidence("s0.b", CriterionState.PROVED, long="passed"),
    )
    runs = [with_evidence(records, *suite), with_evidence(records, *soak)]
    assert assemble([PLAN], runs[:1]).stages[0].state is StageState.UNPROVED
    for order in (runs, runs[::-1]):
        assert assemble([PLAN], order).stages[0].state is StageState.PASSED
    broken = with_evidence(records, evidence("s0.b", CriterionState.FAILED, long="failed"))
    assert assemble([PLAN], [*runs, broken]).stages[0].state is StageState.FAILED


@pytest.mark.parametrize("state", [CriterionState.PROVED, CriterionState.FAILED])
@pytest.mark.parametrize("other", ["revision", "machine"])
def test_another_revision_or_machine_says_nothing(
    records: Sample, other: str, state: CriterionState
) -> None:
    now = with_evidence(records, evidence("s0.a", CriterionState.PROVED))
    then = with_evidence(records, evidence("s0.b", state))
    environment = then.environment.model_copy(update={"git_revision": "a" * 40})
    update = {"environment": environment} if other == "revision" else {"machine_key": "0" * 16}
    then = then.model_copy(update={"created": "2020-01-01T00:00:00Z", **update})
    (stage,) = assemble([PLAN], [now, then]).stages
    assert [criterion.state for criterion in stage.criteria] == ["proved", "unproved"]
    assert "alone" in stage.notes[-1]


def test_a_record_without_evidence_voids_none(records: Sample) -> None:
    """Launches of a gate bring none, and may be newer."""
    found = with_evidence(
        records, evidence("s0.a", CriterionState.PROVED), evidence("s0.b", CriterionState.PROVED)
    )
    launch = with_case(records).model_copy(
        update={"evidence": (), "machine_key": "0" * 16, "created": "2099-01-01T00:00:00Z"}
    )
    (stage,) = assemble([PLAN], [found, launch]).stages
    assert stage.state is StageState.PASSED


def test_a_criterion_newer_than_a_record_is_unproved(records: Sample) -> None:
    (stage,) = assemble(
        [PLAN], [with_evidence(records, evidence("s0.a", CriterionState.PROVED))]
    ).stages
    assert [criterion.state for criterion in stage.criteria] == ["proved", "unproved"]
    assert stage.state is StageState.UNPROVED


def test_criteria_a_plan_forgot_are_kept(records: Sample) -> None:
    found = [evidence(name, CriterionState.PROVED) for name in ("s0.a", "s0.b", "s0.old")]
    (stage,) = assemble([PLAN], [with_evidence(records, *found)]).stages
    assert [criterion.name for criterion in stage.criteria] == ["s0.a", "s0.b", "s0.old"]


def test_doubtful_records_are_noted(records: Sample) -> None:
    record = with_evidence(records, evidence("s0.a", CriterionState.PROVED))
    environment = record.environment.model_copy(
        update={"git_revision": "abcdef0123456789", "git_dirty": True}
    )
    dirty = record.model_copy(update={"environment": environment, "machine_key": "0" * 16})
    (stage,) = assemble([PLAN], [record, dirty]).stages
    different, changed, machines, counted = stage.notes
    assert "abcdef0123 with changes" in different
    assert "no revision holds" in changed
    assert "different machines" in machines
    assert "revision abcdef0123 with changes on machine 0000000000000000 alone" in counted


def test_a_disturbed_gpu_is_noted(records: Sample) -> None:
    record = records.records[0]
    (quiet,) = record.telemetry[:1]
    busy = quiet.model_copy(
        update={"throttle_reasons": ("gpu-idle", "hw-slowdown"), "other_processes": 1}
    )
    calm = assemble([PLAN], [record.model_copy(update={"telemetry": (quiet,)})]).stages[0]
    assert calm.notes == ()
    slowed, others = (
        assemble([PLAN], [record.model_copy(update={"telemetry": (quiet, busy)})]).stages[0].notes
    )
    assert slowed.endswith(": hw-slowdown.")
    assert "Other processes" in others


def test_cases_of_a_test_are_one_row_but_for_failed_ones() -> None:
    def case(test: str, outcome: Outcome, reason: str | None = None) -> Result:
        return Result(test=test, outcome=outcome, seconds=1.0, reason=reason)

    criterion = CriterionView(
        "s0.one",
        "one",
        CriterionState.FAILED,
        (
            case("a.py::test_many[1]", "failed", "wrong"),
            case("a.py::test_many[2]", "failed", "wrong"),
            case("a.py::test_many[3]", "skipped", "no GPU"),
            case("a.py::test_many[4]", "skipped", "no GPU"),
            case("a.py::test_many[5]", "passed"),
            case("a.py::test_once", "passed"),
        ),
    )
    rows = [(row.name, row.outcome, row.cases, row.seconds, row.reason) for row in criterion.rows]
    assert rows == [
        ("a.py::test_many[1]", "failed", 1, 1.0, "wrong"),
        ("a.py::test_many[2]", "failed", 1, 1.0, "wrong"),
        ("a.py::test_many", "skipped", 2, 2.0, "no GPU"),
        ("a.py::test_many[5]", "passed", 1, 1.0, None),
        ("a.py::test_once", "passed", 1, 1.0, None),
    ]
