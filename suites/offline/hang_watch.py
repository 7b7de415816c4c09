"""Termination of a process that hangs."""

from __future__ import annotations

import faulthandler
import math
import time
from pathlib import Path
from types import TracebackType
from typing import TextIO


class HangWatch:
    """Ends the process after some seconds without a sign of life; the log then has every stack.

    A wait for a GPU that never answers lets no exception of Python in. The interpreter's own
    watchdog needs neither an answer nor its lock. Watches inside of its block.
    """

    def __init__(self, log: Path, seconds: float) -> None:
        self._log = log
        self._seconds = seconds
        self._due = -math.inf

    def __enter__(self) -> HangWatch:
        self._file: TextIO = self._log.open("a")
        self.alive()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._file.close()

    def alive(self) -> None:
        """Give a sign of life. Starts a thread, so once per second is enough."""
        now = time.monotonic()
        if now >= self._due:
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._file)
            self._due = now + min(1.0, self._seconds / 2)
