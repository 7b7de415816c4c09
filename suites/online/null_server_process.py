"""The server whose model computes nothing, in a separate process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class NullServer:
    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def null_server(model_path: Path, *, step_seconds: float = 0.0) -> Iterator[NullServer]:
    command = [
        sys.executable, "-m", "suites.online.null_server", str(model_path), str(step_seconds),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield NullServer(port, psutil.Process(process.pid))
        process.kill()
