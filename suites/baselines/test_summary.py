"""What a gate says of its verdicts."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

from baselines.gate.escalation import GateResult
from baselines.gate.summary import (
    EXPLANATIONS,
    SEVERITY,
    headline,
    markdown_table,
    text_table,
    write_json,
    write_junit,
)
from baselines.gate.verdict import Judgement, Reason, Verdict

SLOWER = Judgement(
    "test_a[x|y]",
    "seconds",
    Verdict.REGRESSED,
    Reason.WORSE_BEYOND_MARGIN,
    effect=0.1,
    low=0.05,
    high=0.15,
    margin=0.03,
    sigma=0.01,
    p=0.001,
    adjusted_p=0.002,
    launches=6,
)
NEW = Judgement("test_b", "seconds", Verdict.NO_BASELINE, Reason.NEW_CASE)


def test_text() -> None:
    heading, slower, new = text_table([SLOWER, NEW]).splitlines()
    assert heading.startswith("case")
    assert "regressed" in slower
    assert "+10.0 %" in slower
    assert "+5.0 % .. +15.0 %" in slower
    assert "no-baseline" in new


def test_markdown_keeps_its_columns() -> None:
    for line in markdown_table([SLOWER, NEW]).splitlines():
        assert line.replace("\\|", "").count("|") == 9


def test_json(tmp_path: Path) -> None:
    write_json(tmp_path / "verdict.json", GateResult((SLOWER, NEW), launches=6))
    content = json.loads((tmp_path / "verdict.json").read_text())
    assert content["exit_code"] == 1
    assert [item["verdict"] for item in content["judgements"]] == ["regressed", "no-baseline"]


def test_every_reason_is_explained() -> None:
    assert set(EXPLANATIONS) == set(Reason)


def test_every_verdict_has_its_place() -> None:
    assert set(SEVERITY) == set(Verdict)


def test_headline() -> None:
    result = GateResult((SLOWER, NEW), launches=6, failed_criteria=("s0.parity",), out_of_time=True)
    assert headline(result) == (
        "failed: 1 regressed, 1 no-baseline; failed criteria: s0.parity; "
        "the time budget was used up (6 launches a side)"
    )
    advice = GateResult((SLOWER,), launches=3, advisory=True)
    assert headline(advice).startswith("passed: 1 regressed; advice only")
    assert headline(GateResult((), launches=3)).startswith("not comparable: nothing was judged")


def test_junit(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    write_junit(file, "stage0", GateResult((SLOWER, NEW), 6, failed_criteria=("s0.parity",)))
    suite = ET.parse(file).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "2", "1")
    slower, new, criterion = suite
    assert slower.find("failure").get("message").startswith("regressed by +10.0 %: worse by more")
    assert new.find("skipped").get("type") == "no-baseline"
    assert criterion.get("classname") == "s0.parity"
    write_junit(file, "stage0", GateResult((SLOWER,), 6, advisory=True))
    assert ET.parse(file).getroot().get("failures") == "0"
