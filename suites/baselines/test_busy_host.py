"""The judge of the gate on a busy host, and the neighbour that makes the host busy."""

from __future__ import annotations

import time
from dataclasses import replace

import psutil

from stagegate_baselines.gate.conditions import Clock
from stagegate_baselines.gate.escalation import Gate, Side
from stagegate_baselines.records import Record
from stagegate_baselines.states import Verdict
from stagegate_harness.planted import planted_share
from suites.baselines.busy_host import SLOWED, Row, failures, line, run_gates
from suites.baselines.busy_neighbour import BusyNeighbour
from suites.baselines.sample_record import sample_record

ROW = Row(0, SLOWED, 0, Verdict.UNCHANGED, Clock.CPU, 0.001, 0.01, 0.3)
FOUND = replace(ROW, gate=1, planted=15, verdict=Verdict.REGRESSED, found=0.15)
MISSED = replace(FOUND, verdict=Verdict.INCONCLUSIVE)


class Planted:
    """Launches of one case, slowed as the plan says, without any noise."""

    def __init__(self, plant: str) -> None:
        self.share = planted_share(plant, SLOWED)

    def launch(self, side: Side, number: int) -> Record:
        record = sample_record(rate=100 / (1 + self.share * (side is Side.NEW)))
        [case] = record.cases
        return record.model_copy(update={"cases": (case.model_copy(update={"name": SLOWED}),)})


def test_every_other_gate_is_slowed() -> None:
    shown: list[Row] = []
    rows = run_gates(2, lambda number, plant: Gate(Planted(plant), steps=(5,)), shown.append)
    assert rows == shown
    assert [(row.gate, row.planted) for row in rows] == [(0, 0), (1, 15), (2, 0), (3, 15)]
    assert [row.verdict for row in rows] == [Verdict.UNCHANGED, Verdict.REGRESSED] * 2
    assert failures(rows) == []


def test_one_wrong_verdict_is_too_many() -> None:
    for verdict in (Verdict.REGRESSED, Verdict.IMPROVED):
        wrong = replace(ROW, verdict=verdict)
        assert "1 unchanged cases were called changed: test_swiglu[8] in gate 0" in failures(
            [wrong, FOUND]
        )
        assert line(wrong).endswith("<- wrong")
    assert failures([ROW, replace(FOUND, verdict=Verdict.IMPROVED)])[0].startswith("1 unchanged")
    # That a busy host leaves a gate without an answer is no fault of the gate.
    assert failures([replace(ROW, verdict=Verdict.INCONCLUSIVE), FOUND]) == []


def test_eight_of_ten_slowdowns_are_enough_and_seven_are_not() -> None:
    assert failures([ROW, *[FOUND] * 8, *[MISSED] * 2]) == []
    [missed] = failures([ROW, *[FOUND] * 7, *[MISSED] * 3])
    assert missed == "7 of 10 slowdowns were found, fewer than 80%"
    assert failures([]) == ["no case was judged"]


def test_a_neighbour_comes_and_leaves() -> None:
    this = psutil.Process()
    before = set(this.children())
    with BusyNeighbour(seed=1):
        time.sleep(1.0)
        busy = set(this.children()) - before
        assert len(busy) == len(this.cpu_affinity())
    assert not {child for child in busy if child.is_running()}
