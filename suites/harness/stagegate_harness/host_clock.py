"""What a round takes of the host: seconds on the wall, on processors, and waiting for one."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from stagegate_baselines.records import HostTime

_THREADS = Path("/proc/self/task")


@dataclass(slots=True)
class _Round:
    """Differences once it has ended; until then what the clocks said when it began.

    queued: None where the kernel does not say.
    """

    wall: float
    cpu: float
    children: float
    queued: float | None


class HostClock:
    """Between `start` and `stop` lies a round; `settle` ends the account of it.

    stop is quick, since it may count as part of the round for others. settle looks for other
    processes, which takes milliseconds, and is called before anything else starts.

    Not covered: what the kernel does for the process in its own threads and in interrupts, and
    processes that were started for it by others. Of processes that it started, those that are
    there at either end count, and those that ended in between and were waited for, to about ten
    milliseconds each. A thread that ends in between takes the time it queued for with it.
    """

    def __init__(self) -> None:
        self._rounds: list[_Round] = []
        self._settled = 0

    def start(self) -> None:
        children, queued = _children_seconds(), _queued_seconds()
        cpu = time.process_time()
        self._rounds.append(_Round(time.perf_counter(), cpu, children, queued))

    def stop(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        queued = _queued_seconds()
        this = self._rounds[-1]
        this.wall, this.cpu = wall - this.wall, cpu - this.cpu
        known = queued is not None and this.queued is not None
        this.queued = max(0.0, (queued or 0.0) - (this.queued or 0.0)) if known else None

    def settle(self) -> None:
        """May be called where no round has ended since the last time."""
        if len(self._rounds) > self._settled:
            # A child that was not waited for is gone with what it took.
            this = self._rounds[-1]
            this.children = max(0.0, _children_seconds() - this.children)
            self._settled = len(self._rounds)

    @property
    def on_cpu(self) -> float:
        """CPU seconds of the last round that ended, as a share of its seconds on the wall."""
        last = self._rounds[-1]
        return last.cpu / last.wall

    def times(self) -> HostTime | None:
        """All rounds; None where there was none."""
        self.settle()
        if not self._rounds:
            return None
        queued = [item.queued for item in self._rounds if item.queued is not None]
        return HostTime(
            wall=tuple(item.wall for item in self._rounds),
            cpu=tuple(item.cpu for item in self._rounds),
            children=tuple(item.children for item in self._rounds),
            queued=tuple(queued) if len(queued) == len(self._rounds) else None,
        )


def _queued_seconds() -> float | None:
    """Linux counts for each thread how long it could have run and had no processor."""
    total = 0
    try:
        threads = os.listdir(_THREADS)
    except OSError:
        return None
    for thread in threads:
        try:
            total += int((_THREADS / thread / "schedstat").read_bytes().split()[1])
        except (OSError, IndexError, ValueError):
            if (_THREADS / thread).exists():
                return None
            # else it ended just now
    return 1e-9 * total


def _children_seconds() -> float:
    """CPU seconds of the processes below this one, and of those it has waited for."""
    import psutil

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = usage.ru_utime + usage.ru_stime
    for child in psutil.Process().children(recursive=True):
        try:
            total += sum(child.cpu_times()[:4])  # its own, and of children it waited for
        except psutil.Error:
            continue  # it ended just now
    return total
