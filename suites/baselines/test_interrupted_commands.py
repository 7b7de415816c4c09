"""Ctrl-C ends a command of the harness with a line, not with a traceback."""

from __future__ import annotations

import runpy
import sys

import pytest


def interrupt(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("module", "arguments", "working"),
    [
        ("baselines", ["list"], "baselines.commands.list_records"),
        ("baselines", ["gate", "stage0"], "baselines.gate.command.choose_base"),
        ("reports", ["no-record"], "reports.files.load_record"),
    ],
)
def test_an_interrupt_is_a_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: str,
    arguments: list[str],
    working: str,
) -> None:
    monkeypatch.setattr(working, interrupt)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    monkeypatch.delitem(sys.modules, f"{module}.__main__", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith("interrupted")
