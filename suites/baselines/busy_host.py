"""The gate on a busy host: real gates of this tree against itself, beside other work.

    nox -s gate-busy-host -- [--gates 10] [--launches 5] [--seed 1] [--out FILE]

A neighbour takes all processors, and leaves them, at random. In half of the gates nothing differs,
and none may call a change; in the others one operator takes 15 % longer, and eight of ten must find
it. Exit status: 0 all of that holds, 1 it does not, or a launch did not run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from stagegate_baselines.gate.conditions import Clock
from stagegate_baselines.gate.escalation import CONFIRMING_LAUNCHES, Gate, Side
from stagegate_baselines.gate.launches import LaunchError, PytestSource, build, run_in
from stagegate_baselines.gate.self_test import variable
from stagegate_baselines.project import load_project
from stagegate_baselines.states import Verdict
from suites.baselines.busy_neighbour import BusyNeighbour

ROOT = Path(__file__).parents[2]
OUT = ROOT / "reports" / "out" / "busy-host.json"

# Of each case the metric that sees all of its time.
ANSWERING = ("call_us", "tokens_per_sec")
SLOWED = "test_swiglu[8]"
PLANTED = {SLOWED: 15}
LEAST_FOUND = 0.8

# Two operators and two offline cases, on one thread: several wait for each other by spinning, and
# are judged by the wall.
SELECTION = (
    "suites/ops/test_bench_operators.py",
    "suites/offline/test_bench_kv_layout.py",
    "-k", "test_swiglu or (test_kv_layout and block)",
    "--num-threads", "1",
    "--bench-rounds", "8",
)  # fmt: skip

_CHANGES = (Verdict.REGRESSED, Verdict.IMPROVED)


@dataclass(frozen=True, slots=True)
class Row:
    """What one gate said of one case. found: share by which it took longer, None if unknown."""

    gate: int
    case: str
    planted: int
    verdict: Verdict
    clock: Clock
    found: float | None
    launch_sd: float | None
    control_sd: float | None

    @property
    def is_wrong(self) -> bool:
        """It accuses or praises what nothing was done to."""
        return self.verdict in _CHANGES and not (self.planted and self.verdict is _CHANGES[0])


def run_gates(
    gates: int, new_gate: Callable[[int, str], Gate], show: Callable[[Row], None]
) -> list[Row]:
    """So many gates of each kind in turn; new_gate(number, plant) makes one."""
    rows: list[Row] = []
    for number in range(2 * gates):
        plan = PLANTED if number % 2 else {}
        for item in new_gate(number, variable(plan)).run().judgements:
            if item.metric not in ANSWERING:
                continue
            row = Row(
                number,
                item.case,
                plan.get(item.case, 0),
                item.verdict,
                item.basis.clock,
                item.effect,
                item.sigma,
                item.control_sigma,
            )
            rows.append(row)
            show(row)
    return rows


def failures(rows: list[Row]) -> list[str]:
    """The bars that were missed, as sentences; none where the gate did well."""
    found = []
    if not rows:
        return ["no case was judged"]
    wrong = [row for row in rows if row.is_wrong]
    if wrong:
        named = ", ".join(f"{row.case} in gate {row.gate}" for row in wrong)
        found.append(f"{len(wrong)} unchanged cases were called changed: {named}")
    planted = [row for row in rows if row.planted]
    right = sum(row.verdict is Verdict.REGRESSED for row in planted)
    if right < LEAST_FOUND * len(planted) or not planted:
        found.append(
            f"{right} of {len(planted)} slowdowns were found, fewer than {LEAST_FOUND:.0%}"
        )
    return found


def line(row: Row) -> str:
    def percent(share: float | None) -> str:
        return "-" if share is None else f"{100 * share:+.1f} %"

    remark = "  <- wrong" if row.is_wrong else ""
    return (
        f"{row.gate:4}  {row.case:28}  {row.planted:5} %  {percent(row.found):>8}  "
        f"{row.verdict.value:14}  {row.clock.value:5}  {percent(row.launch_sd):>9}  "
        f"{percent(row.control_sd):>10}{remark}"
    )


HEADING = (
    f"{'gate':4}  {'case':28}  planted  {'found':>8}  {'verdict':14}  clock  launch sd  control sd"
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Judge the gate beside other work on this machine."
    )
    parser.add_argument("--gates", type=_positive, default=10, help="of each kind; default: 10")
    parser.add_argument("--launches", type=_launches, default=5, help="a side; default: 5")
    parser.add_argument("--seed", type=int, default=1, help="of when the neighbour comes and goes")
    parser.add_argument("--out", type=Path, default=OUT, help=f"default: {OUT.relative_to(ROOT)}")
    options = parser.parse_args()
    try:
        rows = _measure(options.gates, options.launches, options.seed)
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    missed = failures(rows)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    content = {"seed": options.seed, "missed": missed, "rows": [asdict(row) for row in rows]}
    options.out.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    print("\n".join(missed) or "no unchanged case was called changed, and the slowdowns were found")
    print(options.out)
    return 1 if missed else 0


def _measure(gates: int, launches: int, seed: int) -> list[Row]:
    build(load_project(ROOT), ROOT, "stage0", ())
    with TemporaryDirectory() as place:
        folder = Path(place)
        checkpoint = ("suites.models.random_qwen2", "group-6", str(folder / "checkpoint"))
        run_in(ROOT, [sys.executable, "-m", *checkpoint])
        selection = [*SELECTION, f"--model-path={folder / 'checkpoint'}"]

        def source(number: int, plant: str) -> PytestSource:
            return PytestSource(
                dict.fromkeys(Side, ROOT),
                stage="stage0",
                arguments=selection,
                folder=folder / str(number),
                plant=plant,
            )

        began = time.monotonic()
        with BusyNeighbour(seed):
            source(-1, "").launch(Side.BASE, 0)
            # A gate with nothing to find confirms nothing.
            most = gates * 2 * (launches + launches + CONFIRMING_LAUNCHES)
            minutes = most * (time.monotonic() - began) / 60
            print(f"{2 * gates} gates, about {minutes:.0f} minutes", file=sys.stderr)
            print(HEADING)
            return run_gates(
                gates,
                lambda number, plant: Gate(source(number, plant), steps=(launches,)),
                lambda row: print(line(row), flush=True),
            )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        msg = f"{text!r} is not a number of gates from 1"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _launches(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        msg = f"{text!r} is not a number of launches; an interval needs two or more"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
