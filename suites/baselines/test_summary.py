"""What a gate says of its verdicts."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from stagegate_baselines.gate.conditions import Basis, Clock, Launch
from stagegate_baselines.gate.escalation import GateResult
from stagegate_baselines.gate.findings import Finding
from stagegate_baselines.gate.junit import write_junit
from stagegate_baselines.gate.summary import (
    EXPLANATIONS,
    clock_note,
    headline,
    markdown_table,
    sentence,
    text_table,
)
from stagegate_baselines.gate.verdict import Comparison, Judgement, Reason, judge
from stagegate_baselines.records import Better
from stagegate_baselines.states import Verdict
from suites.baselines.sample_record import sample_record

SLOWER = Judgement(
    "test_a[x|y]",
    "call_us",
    Verdict.REGRESSED,
    Reason.WORSE_BEYOND_MARGIN,
    effect=0.234,
    low=0.15,
    high=0.3,
    margin=0.03,
    sigma=0.01,
    base_median=128.0,
    new_median=158.0,
    unit="us",
    better=Better.LOWER,
    p=0.001,
    adjusted_p=0.002,
    launches=6,
)
NEW = Judgement("test_b", "seconds", Verdict.NO_BASELINE, Reason.NEW_CASE)


def found(*judgements: Judgement) -> list[Finding]:
    return [Finding.of(item) for item in judgements]


def judged_rate(base: float, new: float) -> Judgement:
    """A throughput, from launches that agree."""
    before, after = (
        [Launch("m", "k", sample_record(rate=rate * wobble).cases[0]) for wobble in (1, 1.001)]
        for rate in (base, new)
    )
    return judge(before, after, "tokens_per_sec", comparison=Comparison.PAIRED)


def test_text() -> None:
    heading, slower, new = text_table(found(SLOWER, NEW)).splitlines()
    assert heading.startswith("case")
    assert "regressed" in slower
    assert "  128 -> 158 us  +23.4 %, worse  +15.0 % to +30.0 %  -2.9 % to +3.0 %  1.0 %" in slower
    assert "no-baseline" in new


@pytest.mark.parametrize(
    ("base", "new", "verdict", "words"),
    [
        (100.0, 50.0, Verdict.REGRESSED, "-50.0 %, worse"),
        (50.0, 100.0, Verdict.IMPROVED, "+100.0 %, better"),
        (100.0, 120.0, Verdict.IMPROVED, "+20.0 %, better"),
        (100.0, 80.0, Verdict.REGRESSED, "-20.0 %, worse"),
        (100.0, 100.0, Verdict.UNCHANGED, "0.0 %"),
    ],
)
def test_a_change_is_that_of_the_metric(
    base: float, new: float, verdict: Verdict, words: str
) -> None:
    [item] = found(judged_rate(base, new))
    assert item.verdict is verdict
    assert item.change == pytest.approx(new / base - 1)
    assert f"({words})" in sentence(item)
    # What was compared is one scale: the change lies in its interval, and outside of the margin.
    assert item.change is not None
    assert item.interval is not None
    assert item.margin is not None
    assert item.interval[0] - 1e-9 <= item.change <= item.interval[1] + 1e-9
    beyond = not item.margin[0] <= item.change <= item.margin[1]
    assert beyond == (verdict is not Verdict.UNCHANGED)
    # Equal as ratios in both directions.
    assert math.log1p(item.margin[0]) == pytest.approx(-math.log1p(item.margin[1]))


def test_what_is_judged_by_cpu_time_says_so() -> None:
    by_cpu = found(replace(SLOWER, basis=Basis(Clock.CPU)))
    assert "  call_us, CPU time  regressed  " in text_table(by_cpu)
    assert "| call\\_us, CPU time |" in markdown_table(by_cpu)
    assert sentence(by_cpu[0]).endswith("; judged by CPU time: the host was disturbed")
    assert clock_note([*by_cpu, *found(NEW)]) == (
        "judged by CPU time: the host was disturbed: test_a[x|y] call_us"
    )
    by_wall = found(SLOWER)
    assert "CPU time" not in text_table(by_wall) + sentence(by_wall[0]) + clock_note(by_wall)
    assert '"judged_by":"cpu"' in by_cpu[0].model_dump_json()


def test_markdown_keeps_its_columns() -> None:
    for line in markdown_table(found(SLOWER, NEW)).splitlines():
        assert line.replace("\\|", "").count("|") == 10


def test_every_reason_is_explained() -> None:
    assert set(EXPLANATIONS) == set(Reason)


def test_headline() -> None:
    result = GateResult((SLOWER, NEW), launches=6, failed_criteria=("s0.parity",), out_of_time=True)
    assert headline(result) == (
        "failed: 1 regressed, 1 no-baseline; failed criteria: s0.parity; "
        "the time budget was used up (6 launches a side)"
    )
    advice = GateResult((SLOWER,), launches=3, advisory=True)
    assert headline(advice).startswith("passed: 1 regressed; advice only")
    assert headline(GateResult((), launches=3)).startswith("not comparable: nothing was judged")


def attribute(case: ET.Element, tag: str, name: str) -> str:
    found = case.find(tag)
    assert found is not None
    return found.attrib[name]


def test_junit(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    result = GateResult((SLOWER, NEW), 6, failed_criteria=("s0.parity",), seconds=90.0)
    write_junit(file, "stage0", result)
    suite = ET.parse(file).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "2", "1")
    slower, new, criterion = suite
    assert attribute(slower, "failure", "message").startswith(
        "regressed, 128 -> 158 us (+23.4 %, worse): worse by more"
    )
    assert attribute(new, "skipped", "type") == "no-baseline"
    assert criterion.get("classname") == "s0.parity"
    assert suite.get("time") == "90.000"
    assert [case.get("time") for case in suite] == ["30.000"] * 3
    write_junit(file, "stage0", GateResult((SLOWER,), 6, advisory=True))
    assert ET.parse(file).getroot().get("failures") == "0"


@pytest.mark.parametrize(
    ("verdict", "strict", "element"),
    [
        (Verdict.INCONCLUSIVE, False, "skipped"),
        (Verdict.INCONCLUSIVE, True, "failure"),
        (Verdict.NOT_COMPARABLE, False, "skipped"),
        (Verdict.NOT_COMPARABLE, True, "failure"),
        (Verdict.NO_BASELINE, True, "skipped"),
        (Verdict.IMPROVED, True, "system-out"),
    ],
)
def test_a_strict_gate_fails_on_what_says_nothing(
    tmp_path: Path, verdict: Verdict, strict: bool, element: str
) -> None:
    file = tmp_path / "junit.xml"
    judgement = Judgement("case", "metric", verdict, Reason.INTERVAL_TOO_WIDE)
    write_junit(file, "stage0", GateResult((judgement,), 6), strict=strict)
    [case] = ET.parse(file).getroot()
    assert [child.tag for child in case] == [element]
