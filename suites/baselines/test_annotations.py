"""Marks on a run of GitHub Actions."""

from __future__ import annotations

import pytest

from stagegate_baselines.gate.annotations import LIMIT, annotate, annotate_failure
from stagegate_baselines.gate.escalation import GateResult
from stagegate_baselines.gate.verdict import Judgement, Reason
from stagegate_baselines.states import Verdict

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def on_github(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")


def result(*verdicts: Verdict, advisory: bool = False) -> GateResult:
    judgements = [Judgement("case", "ms", verdict, Reason.TOO_FEW_LAUNCHES) for verdict in verdicts]
    return GateResult(tuple(judgements), 5, advisory=advisory)


@pytest.mark.parametrize(
    ("verdict", "level", "strict_level"),
    [
        (Verdict.REGRESSED, "error", "error"),
        (Verdict.INVALID, "error", "error"),
        (Verdict.INCONCLUSIVE, "warning", "error"),
        (Verdict.NOT_COMPARABLE, "warning", "error"),
        (Verdict.NO_BASELINE, None, None),
        (Verdict.UNCHANGED, None, None),
        (Verdict.IMPROVED, None, None),
    ],
)
def test_what_a_green_job_would_hide_is_marked(
    capsys: Capture, verdict: Verdict, level: str | None, strict_level: str | None
) -> None:
    for strict, expected in ((False, level), (True, strict_level)):
        annotate(result(verdict), strict=strict)
        out = capsys.readouterr().out
        mark = f"::{expected} title=case ms%3A {verdict.value}::{verdict.value}: an interval needs"
        assert out.startswith(mark) if expected else out == ""


def test_advice_is_a_warning(capsys: Capture) -> None:
    annotate(result(Verdict.REGRESSED, advisory=True))
    assert capsys.readouterr().out.startswith("::warning title=case ms%3A regressed::")


def test_a_failed_criterion_is_an_error(capsys: Capture) -> None:
    annotate(GateResult(result(Verdict.UNCHANGED).judgements, 5, failed_criteria=("s0.one",)))
    assert capsys.readouterr().out == (
        "::error title=s0.one failed::a test that proves it failed\n"
    )


def test_nothing_judged_is_a_warning(capsys: Capture) -> None:
    annotate(result())
    assert capsys.readouterr().out.startswith("::warning title=nothing was judged::")
    annotate_failure("nothing to compare with", "accept something", red=False)
    assert capsys.readouterr().out == "::warning title=nothing to compare with::accept something\n"


def test_more_than_github_shows_are_counted(capsys: Capture) -> None:
    annotate(result(*[Verdict.INCONCLUSIVE] * (LIMIT + 5)))
    *_, last = lines = capsys.readouterr().out.splitlines()
    assert len(lines) == LIMIT
    assert last.startswith("::warning title=6 more::case ms: inconclusive%0Acase ms")


@pytest.mark.parametrize(
    "text", ["a\n::error::b", "a\r\n::add-mask::b", "100 %,\x1b[31mred: x", "a\u2028::error::b"]
)
def test_a_name_starts_no_command_of_its_own(capsys: Capture, text: str) -> None:
    judgement = Judgement(text, "ms", Verdict.INVALID, Reason.RUN_INVALID, detail=text)
    annotate(GateResult((judgement,), 5))
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("::error title=")
    title = line.removeprefix("::error title=").partition("::")[0]
    assert not set(title) & set(":,\x1b\r\n\u2028")


def test_elsewhere_nothing_is_printed(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS")
    annotate(result(Verdict.REGRESSED))
    assert capsys.readouterr().out == ""
