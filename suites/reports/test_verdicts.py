"""The gate's verdicts as the report takes them."""

from __future__ import annotations

import pytest

from stagegate_baselines.gate.findings import Finding
from stagegate_baselines.gate.verdict import Reason
from stagegate_baselines.records import Better
from stagegate_baselines.states import CriterionState, StageState, Verdict
from stagegate_reports.formatting import SIGNS
from stagegate_reports.model import VERDICTS, MetricView


def test_every_state_has_a_sign() -> None:
    assert {*VERDICTS, *StageState, *CriterionState, "skipped", "left-out"} == set(SIGNS)


@pytest.mark.parametrize(
    ("detail", "reason"), [("", "run invalid"), ("new: wrong tokens", "new: wrong tokens")]
)
def test_words_behind_an_invalid_run_win(detail: str, reason: str) -> None:
    found = Finding(
        case="c", metric="m", verdict=Verdict.INVALID, reason=Reason.RUN_INVALID, detail=detail
    )
    view = MetricView("m", "ms", Better.LOWER, True, (), None, None, None, None, None, (), found)
    assert view.reason == reason
