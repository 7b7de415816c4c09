"""Rows of cases that a gate launched: which launches they are about, and what the gate said."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from stagegate_baselines.gate.findings import Finding
from stagegate_baselines.gate.verdict import Reason
from stagegate_baselines.records import Record
from stagegate_baselines.states import Verdict
from stagegate_reports.assemble import assemble
from stagegate_reports.headline import problems, speed
from stagegate_reports.model import AcceptedVersion, GateRun
from suites.reports.changed_records import PLAN, with_case, with_samples
from suites.reports.sample_records import Sample


def gate_of(
    new: Sequence[Record],
    base: Sequence[Record] = (),
    medians: tuple[float, float, float] | None = None,
    **verdicts: Verdict,
) -> GateRun:
    """A gate of the case of these launches, with verdicts by metric.

    medians: of the base and of the new side, and the change that was estimated.
    """
    name = new[0].cases[0].name
    before, after, change = medians or (None, None, None)
    found = {
        (name, metric): Finding(
            case=name, metric=metric, verdict=verdict, reason=Reason.WITHIN_FLOOR,
            base_median=before, new_median=after, change=change,
        )
        for metric, verdict in verdicts.items()
    }  # fmt: skip
    return GateRun("stage0", "main", tuple(base), tuple(new), found)


@pytest.mark.parametrize("paired", [True, False])
def test_a_row_is_about_the_launches_of_the_gate(records: Sample, paired: bool) -> None:
    """The suite's own record was made at another time, as what was accepted was."""
    suite = with_samples(records, [60.0] * 5)
    new = [with_samples(records, [rate] * 3, launch=n) for n, rate in enumerate((90, 100, 140))]
    base = [with_samples(records, [rate] * 3, launch=n) for n, rate in enumerate((180, 200, 210))]
    accepted = AcceptedVersion("v1", (with_samples(records, [300.0]),))
    history = [accepted, *([AcceptedVersion("base", tuple(base), of_gate=True)] if paired else [])]
    gate = gate_of(
        new, base if paired else (), (200.0, 100.0, -0.48), tokens_per_sec=Verdict.REGRESSED
    )
    (case,) = assemble([PLAN], [suite, *new], {"stage0": history}, [gate]).cases
    lead = case.lead
    assert lead is not None
    assert (lead.baseline, lead.value, lead.change) == (200.0, 100.0, -0.48)
    sides = " a side" if paired else ""
    assert case.compared == f"3 launches{sides} of the gate against main"
    # Every launch is shown all the same.
    assert len(lead.launches) == 4


def test_what_a_gate_did_not_judge_is_of_its_launches_too(records: Sample) -> None:
    suite = with_samples(records, [60.0] * 5)
    new = [with_samples(records, [100.0] * 3, launch=n) for n in range(3)]
    base = [with_samples(records, [200.0] * 3, launch=n) for n in range(3)]
    history = {"stage0": [AcceptedVersion("base", tuple(base), of_gate=True)]}
    gate = gate_of(new, base, avg_ttft_ms=Verdict.UNCHANGED)
    (case,) = assemble([PLAN], [suite, *new], history, [gate]).cases
    [metric] = case.metrics
    assert metric.verdict is None
    assert (metric.baseline, metric.value, metric.change) == (200.0, 100.0, -0.5)
    assert case.compared == "3 launches a side of the gate against main"


def test_a_case_that_no_gate_launched_is_compared_with_what_was_accepted(records: Sample) -> None:
    suite = with_samples(records, [60.0] * 5)
    base = [with_samples(records, [200.0] * 3, launch=n) for n in range(3)]
    history = [
        AcceptedVersion("v1", (with_samples(records, [50.0]), with_samples(records, [30.0]))),
        AcceptedVersion("base", tuple(base), of_gate=True),
    ]
    elsewhere = with_case(records, launch=1, record=0, name="test_other")
    gate = gate_of([elsewhere], tokens_per_sec=Verdict.UNCHANGED)
    report = assemble([PLAN], [suite, elsewhere], {"stage0": history}, [gate])
    case = next(case for case in report.cases if case.name != "test_other")
    [metric] = case.metrics
    assert (metric.baseline, metric.value) == (40.0, 60.0)
    assert metric.change == pytest.approx(0.5)
    assert case.compared == "1 launch against v1"


def test_of_two_gates_the_later_one_counts(records: Sample) -> None:
    first = [with_samples(records, [100.0], launch=1)]
    second = [with_samples(records, [50.0], launch=1)]
    gates = [
        gate_of(first, medians=(200.0, 100.0, -0.5), tokens_per_sec=Verdict.REGRESSED),
        gate_of(second, medians=(50.0, 50.0, 0.0), tokens_per_sec=Verdict.UNCHANGED),
    ]
    (case,) = assemble([PLAN], [*first, *second], {}, gates).cases
    assert case.verdict_word == "unchanged"
    # A gate of other cases hides none of this one.
    other = [with_case(records, name="test_other")]
    gates = [gates[0], gate_of(other, tokens_per_sec=Verdict.UNCHANGED)]
    report = assemble([PLAN], [*first, *other], {}, gates)
    assert [case.verdict_word for case in report.cases] == ["regressed", "unchanged"]


def test_the_worst_verdict_speaks_for_a_case(records: Sample) -> None:
    runs = [with_case(records)]
    gate = gate_of(runs, tokens_per_sec=Verdict.UNCHANGED, avg_ttft_ms=Verdict.REGRESSED)
    (view,) = assemble([PLAN], runs, {}, [gate]).stages[0].cases
    assert view.verdict_word == "regressed"
    assert view.lead is not None
    assert view.lead.name == "avg_ttft_ms"


def test_an_invalid_run_has_no_other_verdict(records: Sample) -> None:
    runs = [with_case(records), with_case(records, launch=2, invalid=("wrong tokens",))]
    report = assemble([PLAN], runs, {}, [gate_of(runs, tokens_per_sec=Verdict.IMPROVED)])
    (view,) = report.cases
    assert view.verdict_word == "invalid"
    assert view.invalid == ("wrong tokens",)
    assert speed(report) == "1 benchmark case: 1 invalid."
    assert [problem.sign for problem in problems(report)[0]] == ["invalid"]
