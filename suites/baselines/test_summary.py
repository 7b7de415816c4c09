"""What a gate says of its verdicts."""

from __future__ import annotations

import json
from pathlib import Path

from baselines.gate import GateResult
from baselines.summary import EXPLANATIONS, markdown_table, text_table, write_json
from baselines.verdict import Judgement, Reason, Verdict

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
    write_json(tmp_path / "verdict.json", GateResult((SLOWER, NEW), pairs=6, out_of_time=False))
    content = json.loads((tmp_path / "verdict.json").read_text())
    assert content["exit_code"] == 1
    assert [item["verdict"] for item in content["judgements"]] == ["regressed", "no-baseline"]


def test_every_reason_is_explained() -> None:
    assert set(EXPLANATIONS) == set(Reason)
