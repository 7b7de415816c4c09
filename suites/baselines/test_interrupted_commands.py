"""Ctrl-C ends a command of the harness with a line, not with a traceback."""

from __future__ import annotations

import runpy
import sys

import pytest


def interrupt(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("arguments", "working"),
    [
        (["list"], "stagegate_baselines.commands.list_records"),
        (["gate", "stage0"], "stagegate_baselines.gate.command.choose_base"),
        (["report", "no-record"], "stagegate_reports.command.load_record"),
    ],
)
def test_an_interrupt_is_a_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    working: str,
) -> None:
    monkeypatch.setattr(working, interrupt)
    monkeypatch.setattr(sys, "argv", ["stagegate-harness", *arguments])
    monkeypatch.delitem(sys.modules, "stagegate_harness.__main__", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("stagegate_harness", run_name="__main__")
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith("interrupted")
