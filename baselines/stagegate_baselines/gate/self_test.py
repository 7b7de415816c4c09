"""The gate, judged itself: it must be silent where nothing changed, and find what was planted.

Each gate runs this tree on both sides. In the first nothing differs; in the others the new side
takes 5 and 10 percent longer in two cases of the project, and no longer in the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stagegate_baselines.gate.escalation import GateResult
from stagegate_baselines.project import SelfTest
from stagegate_baselines.states import Verdict


def plans(cases: tuple[str, str]) -> tuple[dict[str, int], ...]:
    """What each gate plants: case and percent."""
    one, other = cases
    return {}, {one: 5, other: 10}, {one: 10, other: 5}


@dataclass(frozen=True, slots=True)
class Check:
    """What one gate said of one case. found: share by which it took longer."""

    gate: int
    case: str
    planted: int
    verdict: Verdict
    found: float | None

    @property
    def right(self) -> bool:
        """Nothing is accused that was left alone, and what was slowed is found."""
        return (self.verdict is Verdict.REGRESSED) == (self.planted > 0)


def variable(plan: dict[str, int]) -> str:
    """The plan as stagegate_harness/planted.py reads it."""
    return ",".join(f"{case}={percent}" for case, percent in plan.items())


def run_self_test(
    run_gate: Callable[[int, str], GateResult], test: SelfTest, repeats: int
) -> list[Check]:
    """run_gate(number, plant) runs one gate on this tree; each plan runs `repeats` times."""
    checks: list[Check] = []
    for number, plan in enumerate(plans(test.cases) * repeats):
        result = run_gate(number, variable(plan))
        checks += [
            Check(number, item.case, plan.get(item.case, 0), item.verdict, item.effect)
            for item in result.judgements
            if item.metric in test.metrics
        ]
    return checks


def table(checks: Sequence[Check]) -> str:
    """A line for each case of each gate, and the rates at the end."""
    lines = [f"{'gate':4}  {'case':28}  {'planted':>7}  {'found':>8}  verdict"]
    for check in checks:
        found = "-" if check.found is None else f"{100 * check.found:+.1f} %"
        remark = "" if check.right else "  <- wrong"
        lines.append(
            f"{check.gate:4}  {check.case:28}  {check.planted:5} %  {found:>8}  "
            f"{check.verdict.value}{remark}"
        )
    planted = [check for check in checks if check.planted]
    others = [check for check in checks if not check.planted]
    lines.append(
        f"found {sum(check.right for check in planted)} of {len(planted)} slowdowns; "
        f"accused {sum(not check.right for check in others)} of {len(others)} unchanged cases"
    )
    return "\n".join(lines)
