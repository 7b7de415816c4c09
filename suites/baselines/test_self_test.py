"""The judge of the gate tells a right verdict from a wrong one."""

from __future__ import annotations

from stagegate_baselines.gate.escalation import GateResult
from stagegate_baselines.gate.self_test import run_self_test, table, variable
from stagegate_baselines.gate.verdict import Judgement, Reason
from stagegate_baselines.project import SelfTest
from stagegate_baselines.states import Verdict
from stagegate_harness.planted import planted_share

OPERATOR, OFFLINE = "test_swiglu[8]", "test_kv_layout[block-cold]"
TEST = SelfTest((OPERATOR, OFFLINE), metrics=("call_us", "tokens_per_sec"))
METRICS = {OPERATOR: "call_us", OFFLINE: "tokens_per_sec", "test_swiglu[64]": "call_us"}


def found(plant: str, *, blind: str = "", jumpy: str = "") -> GateResult:
    """A gate that finds what is planted, except in one case, and accuses another."""
    judgements = []
    for case, metric in METRICS.items():
        slow = planted_share(plant, case) > 0
        red = (slow and case != blind) or case == jumpy
        verdict = Verdict.REGRESSED if red else Verdict.UNCHANGED
        judgements.append(Judgement(case, metric, verdict, Reason.WITHIN_FLOOR, effect=0.05))
    return GateResult(tuple(judgements), launches=6)


def test_a_good_gate_passes() -> None:
    plants: list[str] = []

    def run(number: int, plant: str) -> GateResult:
        assert number == len(plants)
        plants.append(plant)
        return found(plant)

    checks = run_self_test(run, TEST, repeats=2)
    assert plants[0] == ""
    assert plants[:3] == plants[3:]
    assert sorted(check.planted for check in checks if check.planted) == [5] * 4 + [10] * 4
    assert all(check.right for check in checks)
    assert "found 8 of 8 slowdowns; accused 0 of 10 unchanged cases" in table(checks)


def test_a_blind_and_a_jumpy_gate_do_not() -> None:
    blind = run_self_test(lambda number, plant: found(plant, blind=OPERATOR), TEST, 1)
    assert "found 2 of 4 slowdowns; accused 0 of 5" in table(blind)
    jumpy = run_self_test(lambda number, plant: found(plant, jumpy="test_swiglu[64]"), TEST, 1)
    assert "found 4 of 4 slowdowns; accused 3 of 5" in table(jumpy)
    assert sum(not check.right for check in jumpy) == 3


def test_the_harness_reads_what_is_planted() -> None:
    plan = {OPERATOR: 5, OFFLINE: 10}
    shares = {case: round(100 * planted_share(variable(plan), case)) for case in METRICS}
    assert shares == {OPERATOR: 5, OFFLINE: 10, "test_swiglu[64]": 0}
