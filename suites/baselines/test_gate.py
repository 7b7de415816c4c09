"""The gate: order, escalation, confirmation, and how often it is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from stagegate_baselines.gate.conditions import Clock
from stagegate_baselines.gate.escalation import Gate, GateResult, Progress, Side
from stagegate_baselines.gate.verdict import Reason
from stagegate_baselines.records import Record
from stagegate_baselines.states import Verdict
from suites.baselines.gate_rates import rates
from suites.baselines.launch_models import MODELS
from suites.baselines.sample_record import sample_record


class Scripted:
    """Launches whose rates were written down beforehand, by side."""

    def __init__(self, base: Sequence[float], new: Sequence[float]) -> None:
        self.rates = {Side.BASE: base, Side.NEW: new}
        self.order: list[Side] = []

    def launch(self, side: Side, number: int) -> Record:
        self.order.append(side)
        return sample_record(rate=self.rates[side][number])


def only(result: GateResult) -> tuple[Verdict, Reason]:
    [judgement] = result.judgements
    return judgement.verdict, judgement.reason


def test_pairs_alternate_and_five_are_enough_for_a_clear_case() -> None:
    source = Scripted([100, 101, 99, 100, 100], [100, 100.5, 99.5, 100.2, 99.9])
    result = Gate(source).run()
    assert only(result) == (Verdict.UNCHANGED, Reason.WITHIN_FLOOR)
    a, b = Side.BASE, Side.NEW
    assert source.order == [a, b, b, a, a, b, b, a, a, b]
    assert (result.launches, result.exit_code) == (5, 0)


def test_doubt_takes_more_pairs_and_no_more_than_eight() -> None:
    noisy = [100, 115, 96, 120, 93, 111, 90, 118]
    result = Gate(Scripted([100.0] * 8, noisy)).run()
    assert only(result) == (Verdict.INCONCLUSIVE, Reason.INTERVAL_TOO_WIDE)
    assert (result.launches, result.exit_code) == (8, 3)


def test_a_regression_is_confirmed_by_fresh_pairs() -> None:
    slow = [90.0, 91.0, 89.0]
    result = Gate(Scripted([100.0] * 10, (slow * 4)[:10])).run()
    assert only(result) == (Verdict.REGRESSED, Reason.WORSE_BEYOND_MARGIN)
    assert (result.launches, result.exit_code) == (10, 1)


@pytest.mark.parametrize("first", [90, 110])
@pytest.mark.parametrize("fresh", [[100, 100, 101, 99, 100], [90, 112, 88, 109, 100]])
def test_what_fresh_pairs_do_not_show_is_no_change(first: float, fresh: list[float]) -> None:
    rates = [first, first + 1, first - 1, first, first, *fresh]
    result = Gate(Scripted([100.0] * 10, rates)).run()
    assert only(result) == (Verdict.INCONCLUSIVE, Reason.NOT_CONFIRMED)
    assert result.exit_code == 3


def test_an_improvement_is_confirmed_and_no_failure() -> None:
    result = Gate(Scripted([100.0] * 10, ([120.0, 121.0, 119.0] * 4)[:10])).run()
    assert only(result)[0] is Verdict.IMPROVED
    assert (result.launches, result.exit_code) == (10, 0)


def test_time_runs_out() -> None:
    seconds = iter(range(0, 1000, 10))
    source = Scripted([100.0] * 8, [100, 115, 96, 120, 93, 111, 90, 118])
    gate = Gate(source, time_budget_s=60, clock=lambda: float(next(seconds)))
    result = gate.run()
    assert result.out_of_time
    assert result.launches < 8
    assert only(result)[0] is Verdict.INCONCLUSIVE


def test_no_confirmation_without_time_is_no_red() -> None:
    times = iter([0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, *[99.0] * 9])
    gate = Gate(
        Scripted([100.0] * 6, [90.0, 91.0, 89.0] * 2),
        steps=[3],
        time_budget_s=60,
        clock=lambda: next(times),
    )
    assert only(gate.run()) == (Verdict.INCONCLUSIVE, Reason.NOT_CONFIRMED)


class Changed:
    """Scripted launches with a change to the case of one side."""

    def __init__(self, change: Callable[[int], dict[str, object]]) -> None:
        self.change = change
        self.count = 0

    def launch(self, side: Side, number: int) -> Record:
        record = sample_record(rate=100.0)
        if side is Side.BASE:
            return record
        self.count += 1
        [case] = record.cases
        changed = case.model_copy(update=self.change(number))
        return record.model_copy(update={"cases": (changed,)})


@dataclass
class Fixed:
    """The same record at every launch of a side."""

    records: dict[Side, Record]

    def launch(self, side: Side, number: int) -> Record:
        return self.records[side]


def test_an_invalid_launch_gets_one_more_chance() -> None:
    once = Changed(lambda number: {"invalid": ("hot",)} if number == 0 else {})
    assert only(Gate(once).run())[0] is Verdict.UNCHANGED
    assert once.count == 6
    always = Changed(lambda number: {"invalid": ("hot",)})
    result = Gate(always).run()
    assert only(result) == (Verdict.INVALID, Reason.RUN_INVALID)
    assert (always.count, result.exit_code) == (10, 1)


def test_other_work_is_not_compared() -> None:
    result = Gate(Changed(lambda number: {"workload_hash": "2" * 16})).run()
    assert only(result) == (Verdict.NOT_COMPARABLE, Reason.OTHER_WORK)
    assert result.exit_code == 4


def test_a_new_case_does_not_fail() -> None:
    base = sample_record(rate=100.0)
    more = base.cases[0].model_copy(update={"name": "test_new"})
    both = base.model_copy(update={"cases": (*base.cases, more)})
    result = Gate(Fixed({Side.BASE: base, Side.NEW: both})).run()
    assert {item.case: item.verdict for item in result.judgements} == {
        "test_case[block]": Verdict.UNCHANGED,
        "test_new": Verdict.NO_BASELINE,
    }
    assert result.exit_code == 0
    result = Gate(Fixed({Side.BASE: both, Side.NEW: base})).run()
    [_, gone] = result.judgements
    assert (gone.case, gone.reason) == ("test_new", Reason.CASE_REMOVED)
    assert result.exit_code == 4


def test_a_case_that_fails_before_it_measures_is_red() -> None:
    result = Gate(Changed(lambda number: {"metrics": (), "invalid": ("the test failed",)})).run()
    assert only(result) == (Verdict.INVALID, Reason.RUN_INVALID)
    assert result.exit_code == 1


def test_a_failed_criterion_is_red_however_fast() -> None:
    base = sample_record(rate=100.0)
    [evidence] = base.evidence
    failed = evidence.model_copy(update={"state": "failed"})
    new = sample_record(rate=200.0).model_copy(update={"evidence": (failed,)})
    result = Gate(Fixed({Side.BASE: base, Side.NEW: new})).run()
    assert only(result)[0] is Verdict.IMPROVED
    assert (result.failed_criteria, result.exit_code) == (("s0.one",), 1)


def test_nothing_to_judge_is_no_pass() -> None:
    empty = sample_record().model_copy(update={"cases": ()})
    assert Gate(Fixed({Side.BASE: empty, Side.NEW: empty})).run().exit_code == 4


def test_stored_launches_are_not_taken_again() -> None:
    stored = [sample_record(rate=rate) for rate in (100, 101, 99, 100.5, 99.5)]
    source = Scripted([], [80, 81, 79] * 5)
    result = Gate(source, stored=stored).run()
    assert only(result) == (Verdict.REGRESSED, Reason.WORSE_BEYOND_MARGIN)
    assert source.order == [Side.NEW] * 15
    quiet = Scripted([], [100, 100.2, 99.8, 100.1, 99.9] * 2)
    assert only(Gate(quiet, stored=stored).run())[0] is Verdict.UNCHANGED


def test_a_second_speed_shows_no_equivalence_with_stored_launches() -> None:
    """Nine of ten met the fast one; if all stored ones met the slow one, a change is hidden."""
    stored = [sample_record(rate=rate) for rate in (90, 90.2, 89.8, 90.1, 89.9)]
    source = Scripted([], [91, 91.1, 90.1, 90.4, 90.7, 90.8, 82.6, 91, 90.6, 89.8])
    assert only(Gate(source, stored=stored).run()) == (Verdict.INCONCLUSIVE, Reason.TWO_SPEEDS)


def test_five_alike_launches_show_no_equivalence_with_stored_ones() -> None:
    """All of a side may have met one of two speeds; here the next five meet the other."""
    stored = [sample_record(rate=rate) for rate in (90, 90.2, 89.8, 90.1, 89.9)]
    source = Scripted([], [90, 90.1, 89.9, 90.2, 89.8, 81, 81.1, 80.9, 90, 81] + [81] * 5)
    assert only(Gate(source, stored=stored).run())[0] is not Verdict.UNCHANGED


def test_advice_is_never_red_for_speed() -> None:
    sibling = sample_record(rate=200).model_copy(update={"machine_key": "a" * 16})
    source = Scripted([], [100, 101, 99] * 5)
    result = Gate(source, stored=[sibling] * 5, advisory=True).run()
    assert only(result)[0] is Verdict.REGRESSED
    assert result.exit_code == 0


def test_known_noise_of_a_stored_base_is_never_equivalence() -> None:
    stored = [sample_record(rate=rate) for rate in (100, 130, 75, 100.5, 99.5)]
    source = Scripted([], [88, 88.5, 87.5, 88, 88, 88.2, 87.8, 88.1, 88, 88])
    noise = {("test_case[block]", "1" * 16, "tokens_per_sec", Clock.WALL): 0.2}
    [judgement] = Gate(source, stored=stored, noise=noise).run().judgements
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.sigma == 0.2


def test_progress_says_the_most_a_gate_can_take() -> None:
    now = 0.0
    seen: list[Progress] = []

    class Slow(Scripted):
        def launch(self, side: Side, number: int) -> Record:
            nonlocal now
            now += 5.0 + number
            return super().launch(side, number)

    gate = Gate(Slow([100.0] * 3, [100.0] * 3), steps=[3], progress=seen.append, clock=lambda: now)
    assert gate.most == 8
    assert Gate(Slow([], [])).most == 13
    result = gate.run()
    assert [(item.launches, item.target, item.most) for item in seen] == [
        (0, 3, 8),
        (1, 3, 8),
        (2, 3, 8),
    ]
    # A pair takes 10 s, then 12, then 14.
    assert [item.most_seconds for item in seen] == [None, 10 + 7 * 10, 22 + 6 * 12]
    assert result.seconds == 36
    # One may begin just before the end of the budget.
    limited = [replace(item, budget=50.0).most_seconds for item in seen]
    assert limited == [None, 50 + 10, 50 + 12]


def test_launches_that_are_only_read_say_nothing_of_the_time() -> None:
    seen: list[Progress] = []
    Gate(Scripted([100.0] * 3, [100.0] * 3), steps=[3], progress=seen.append).run()
    assert {item.most_seconds for item in seen} == {None}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("stored", [False, True])
def test_no_change_is_not_called_one(model: str, stored: bool) -> None:
    verdicts, _ = rates(model, 0.0, gates=60, seed=0, stored=stored)
    assert verdicts[Verdict.REGRESSED] + verdicts[Verdict.IMPROVED] <= 1


@pytest.mark.parametrize(
    ("model", "slowdown", "found"),
    [
        ("normal", 0.03, 34),
        ("normal", 0.05, 39),
        ("drifting", 0.03, 34),
        ("bimodal host", 0.05, 36),
        ("busy host", 0.03, 34),
        ("busy host", 0.05, 36),
    ],
)
def test_slowdowns_are_found(model: str, slowdown: float, found: int) -> None:
    verdicts, _ = rates(model, slowdown, gates=40, seed=0)
    assert verdicts[Verdict.REGRESSED] >= found


@pytest.mark.parametrize("model", MODELS)
def test_twice_the_floor_is_never_called_unchanged(model: str) -> None:
    verdicts, _ = rates(model, 0.0601, gates=40, seed=0, stored=True)
    assert verdicts[Verdict.UNCHANGED] == 0
