"""The gate's verdicts as the report takes them."""

from __future__ import annotations

import pytest

from baselines.gate.verdict import Judgement, Reason, Verdict
from reports.formatting import SIGNS
from reports.model import NOT_JUDGED, VERDICTS, CaseVerdict, StageState


def test_the_gate_and_the_report_know_the_same_verdicts() -> None:
    assert set(VERDICTS) == set(Verdict)


def test_every_state_has_a_sign() -> None:
    assert {*VERDICTS, NOT_JUDGED, *StageState, "proved", "skipped", "left-out"} == set(SIGNS)


def test_unknown_verdicts_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown verdict 'fine'; known: regressed"):
        CaseVerdict("fine", "because")


def test_taken_from_a_judgement() -> None:
    judgement = Judgement(
        "case", "metric", Verdict.REGRESSED, Reason.WORSE_BEYOND_MARGIN,
        effect=0.1, low=0.05, high=0.15, margin=0.03, sigma=0.01, p=0.001, adjusted_p=0.002,
    )  # fmt: skip
    assert CaseVerdict.of(judgement) == CaseVerdict(
        "regressed", "worse-beyond-margin", 0.1, 0.05, 0.15, 0.03, 0.002, 0.01
    )


def test_words_behind_an_invalid_run_win() -> None:
    judgement = Judgement("c", "m", Verdict.INVALID, Reason.RUN_INVALID, detail="new: wrong tokens")
    assert CaseVerdict.of(judgement).reason == "new: wrong tokens"
