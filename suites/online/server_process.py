"""stagegate serve in a separate process."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def server_process(
    model_path: Path, device: str, kv_layout: str, *flags: str, planted: float = 0.0
) -> Iterator[tuple[str, int]]:
    """Serve a checkpoint as "tiny"; yields address and process id, and kills the process after.

    planted: share by which every step takes longer.
    """
    engine = ["suites.online.planted_engine", str(planted)] if planted else ["stagegate"]
    command = [
        sys.executable, "-m", *engine, "serve", "--model", f"tiny={model_path}", "--port", "0",
        "--device", device, "--kv-layout", kv_layout, "--dtype", "f32", *flags,
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if found := re.search(r"running on (http://\S+)", line):
                    break
            else:
                pytest.fail("the server did not start")
            # Read on, or the pipe fills up and the server waits.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield found[1], process.pid
        finally:
            process.kill()
