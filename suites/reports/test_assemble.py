"""What records add up to: cases over launches, their history and their baseline."""

from __future__ import annotations

import pytest

from stagegate_baselines.records import Case
from stagegate_reports.assemble import assemble
from stagegate_reports.headline import problems
from stagegate_reports.model import AcceptedVersion, Report
from suites.reports.changed_records import PLAN, with_case, with_samples
from suites.reports.sample_records import Sample


def test_launches_of_a_case_come_together(records: Sample) -> None:
    launches = [
        with_samples(records, [100, 110, 120], launch=1),
        with_samples(records, [200, 210], launch=2),
        with_samples(records, [90, 500, 1], launch=3),
    ]
    (case,) = assemble([PLAN], launches).stages[0].cases
    assert case.launches == ("launch 1", "launch 2", "launch 3")
    metric = case.lead
    assert metric is not None
    assert metric.launches == ((100, 110, 120), (200, 210), (90, 500, 1))
    assert (metric.value, metric.low, metric.high) == (110, 1, 500)  # median of 110, 205, 90
    assert len(case.rounds) == 3 + 2 + 3
    assert case.rounds[-1] == ("launch 3, round 3", (1,))


def test_other_work_is_another_case(records: Sample) -> None:
    two = [with_case(records), with_case(records, workload_hash="f" * 16)]
    cases = assemble([PLAN], two).stages[0].cases
    assert len(cases) == 2
    assert len({case.anchor for case in cases}) == 2


def test_the_baseline_is_the_last_version_that_compares(records: Sample) -> None:
    now = with_samples(records, [100.0])
    same = with_samples(records, [50.0])
    later = with_samples(records, [80.0])
    other = with_case(records, workload_hash="f" * 16)
    history = {
        "stage0": [
            AcceptedVersion("1", (same,)),
            AcceptedVersion("2", (later,)),
            AcceptedVersion("3", (other,)),
        ]
    }
    (case,) = assemble([PLAN], [now], history).stages[0].cases
    assert [version.comparable for version in case.versions] == [True, True, False]
    assert case.baseline_label == "2"
    assert case.lead is not None
    assert (case.lead.baseline, case.lead.history[:2]) == (80.0, (50.0, 80.0))
    assert case.lead.change == pytest.approx(100 / 80 - 1)
    assert case.compared == "1 launch against 2"


def test_a_case_on_another_machine_has_no_baseline(records: Sample) -> None:
    elsewhere = with_case(records).model_copy(update={"machine_key": "0" * 16})
    history = {"stage0": [AcceptedVersion("1", (elsewhere,))]}
    (case,) = assemble([PLAN], [with_case(records)], history).stages[0].cases
    assert case.baseline_label is None
    assert case.lead is not None
    assert case.lead.baseline is None
    assert case.lead.change is None


def test_what_changed_in_the_environment_is_named(records: Sample, report: Report) -> None:
    case = next(case for case in report.cases if case.baseline_label)
    found = {item.name: (item.before, item.after) for item in case.differences}
    assert found.pop("git_revision")
    assert found == {
        "python": ("3.11.9", "3.12.4"),
        "packages.numpy": ("2.2.6", "2.3.4"),
        "variables.OMP_NUM_THREADS": (None, "8"),
    }


def test_problems_are_few_and_counted(records: Sample, report: Report) -> None:
    shown, more = problems(report)
    assert shown[0].subject == "s1.smoke"
    counts = dict(report.verdict_counts)
    loud = ("regressed", "invalid", "inconclusive", "not-comparable")
    assert len(shown) + more == 1 + sum(counts.get(word, 0) for word in loud)
    assert len(shown) == 6


def test_the_sample_shows_every_kind(report: Report) -> None:
    """What other tests look at is there."""
    kinds = {word for word, _ in report.verdict_counts}
    assert kinds >= {"regressed", "improved", "unchanged", "invalid", "no-baseline"}


def test_records_of_no_stage_stay_visible(records: Sample) -> None:
    loose = with_case(records).model_copy(update={"stage": None})
    report = assemble([PLAN], [loose])
    assert [case.stage for case in report.unstaged] == [None]
    assert report.cases == report.unstaged


def test_a_metric_a_round_could_not_give(records: Sample) -> None:
    case: Case = records.records[0].cases[0]
    metric = case.metrics[0].model_copy(update={"samples": (None, None)})
    (view,) = assemble([PLAN], [with_case(records, metrics=(metric,))]).cases
    assert view.metrics[0].value is None
    assert view.lead is None
    assert view.verdict_word == "not-judged"


def test_no_records_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one record"):
        assemble([PLAN], [])
