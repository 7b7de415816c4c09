"""Other work on this machine, that comes and goes at random: for judging the gate beside it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from types import TracebackType

# Arithmetic and memory in turn: it takes processors, and fills the caches that are left.
_WORK = """
import os
parent = os.getppid()
memory = bytearray(16 << 20)
while os.getppid() == parent:  # it must not outlive who started it
    value = 1
    for _ in range(300_000):
        value = (value * 1_103_515_245 + 12_345) & 0x7FFF_FFFF
    bytes(memory)
"""
# Seconds of it being there, and away: shorter and longer than a launch.
_SPELL_S = (0.3, 6.0)


class BusyNeighbour:
    """One busy process a processor while it is there. A context manager; `spells` counts.

    seed: of when it comes and goes.
    """

    def __init__(self, seed: int) -> None:
        self.spells = 0
        self._random = random.Random(seed)
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._run, name="busy-neighbour", daemon=True)

    def __enter__(self) -> BusyNeighbour:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave.set()
        self._thread.join()

    def _run(self) -> None:
        processors = len(os.sched_getaffinity(0))
        processes = [subprocess.Popen([sys.executable, "-c", _WORK]) for _ in range(processors)]
        try:
            while not self._leave.is_set():
                self.spells += 1
                for stop in (False, True):
                    for process in processes:
                        process.send_signal(signal.SIGSTOP if stop else signal.SIGCONT)
                    self._leave.wait(self._random.uniform(*_SPELL_S))
        finally:
            for process in processes:
                process.kill()
                process.wait()
