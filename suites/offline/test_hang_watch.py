"""A process that hangs is ended, and its log shows where it hung."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HANGS = """
import sys, threading
from pathlib import Path
from suites.offline.hang_watch import HangWatch
def wait_for_ever():
    threading.Event().wait()
with HangWatch(Path(sys.argv[1]), 0.5):
    wait_for_ever()
"""

GOES_ON = """
import sys, time
from pathlib import Path
from suites.offline.hang_watch import HangWatch
with HangWatch(Path(sys.argv[1]), 0.5) as watch:
    for _ in range(10):
        time.sleep(0.1)
        watch.alive()
time.sleep(1)
"""


def run(program: str, log: Path) -> int:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", program, str(log)]
    return subprocess.run(command, cwd=root, check=False, timeout=60).returncode


def test_a_hang_ends_with_its_stack_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("block, 60 s\n")
    assert run(HANGS, log) == 1
    text = log.read_text()
    assert text.startswith("block, 60 s\n")
    assert "in wait_for_ever" in text


def test_signs_of_life_keep_a_process(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    assert run(GOES_ON, log) == 0
    assert log.read_text() == ""
