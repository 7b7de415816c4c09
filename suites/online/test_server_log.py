"""What the server writes to stderr: one form for all, and no line a request unless asked."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from stagegate.core.preemption_log import PreemptionLog
from stagegate.server.log_config import log_config

pytestmark = pytest.mark.tiny_model

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING) (stagegate|uvicorn)\S*: .+")


def log_of(model_path: Path, *flags: str) -> list[str]:
    """Of a server that answers one request and ends by SIGTERM."""
    command = [
        sys.executable, "-m", "stagegate", "serve", "--model", str(model_path), "--port", "0",
        *flags,
    ]  # fmt: skip
    lines: list[str] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                lines.append(line.rstrip("\n"))
                if found := re.search(r"running on (http://\S+)", line):
                    assert httpx.get(f"{found[1]}/v1/models").status_code == 200
                    process.send_signal(signal.SIGTERM)
        finally:
            process.kill()
    return lines


def test_start_and_end_are_logged_in_one_form(model_path: Path) -> None:
    lines = log_of(model_path)
    entries = [line for line in lines if LINE.fullmatch(line)]
    # Only the table of memory stands on lines of its own, below the model that it is of.
    first = next(i for i, line in enumerate(lines) if "is loaded from" in line)
    rest = [line for line in lines if line not in entries]
    assert rest == lines[first + 1 : first + 1 + len(rest)]
    assert any("weights" in line for line in rest)
    text = "\n".join(entries)
    assert "stagegate.server.command: running on http://" in text
    assert "stagegate.server.command: shutting down" in text
    assert "/v1/models" not in text


def test_a_line_a_request_where_it_is_asked_for(model_path: Path) -> None:
    lines = log_of(model_path, "--access-log")
    [line] = [line for line in lines if "/v1/models" in line]
    assert "uvicorn.access" in line
    assert LINE.fullmatch(line)


def test_every_logger_has_the_level() -> None:
    loggers = log_config("error", access_log=False)["loggers"]
    assert {loggers[name]["level"] for name in ("stagegate", "uvicorn")} == {"ERROR"}
    # Else each line of the access log would be written twice.
    assert "handlers" not in loggers["uvicorn.access"]


def test_preemptions_are_counted_and_said_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr("stagegate.core.preemption_log.time.monotonic", lambda: now)
    log = PreemptionLog()
    for number in range(1, 6):
        log.note(number)
    now += 10.5
    log.note(6)
    assert [record.args for record in caplog.records] == [(1, 1), (5, 6)]
