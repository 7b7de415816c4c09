"""The gate, judged itself: it must be silent where nothing changed, and find what was planted.

Each gate runs this tree on both sides. In the first nothing differs; in the others the new side
takes 5 and 10 percent longer in one operator and in one offline case, and no longer in the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stagegate_baselines.gate.escalation import GateResult
from stagegate_baselines.gate.verdict import Verdict

# Bound by arithmetic: memory is shared with whatever else a machine does.
OPERATOR = "test_swiglu[8]"
OFFLINE = "test_kv_layout[block-cold]"

# What each gate plants: case and percent.
PLANS: tuple[dict[str, int], ...] = ({}, {OPERATOR: 5, OFFLINE: 10}, {OPERATOR: 10, OFFLINE: 5})

# The cases beside the slowed ones are there to stay unaccused.
SELECTION = (
    "suites/ops/test_bench_operators.py",
    "suites/offline/test_bench_kv_layout.py",
    "-k", "test_swiglu or (test_kv_layout and block)",
    # Two threads wait for each other, and one of them for what else the machine does.
    "--num-threads", "1",
    # A case that lasts some seconds sees past what the machine does for one.
    "--bench-rounds", "15",
)  # fmt: skip

# Writes the checkpoint of the offline cases: one that the caches of a single core hold, since the
# larger ones are shared with whatever else runs there.
CHECKPOINT = ("suites.models.random_qwen2", "group-6")

# A case answers for its slowdown with the metric that sees all of its time. A latency's floor is as
# wide as the smaller slowdown.
ANSWERING = ("call_us", "tokens_per_sec")


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


def run_self_test(run_gate: Callable[[int, str], GateResult], repeats: int) -> list[Check]:
    """run_gate(number, plant) runs one gate on this tree; each plan runs `repeats` times."""
    checks: list[Check] = []
    for number, plan in enumerate(PLANS * repeats):
        result = run_gate(number, variable(plan))
        checks += [
            Check(number, item.case, plan.get(item.case, 0), item.verdict, item.effect)
            for item in result.judgements
            if item.metric in ANSWERING
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
