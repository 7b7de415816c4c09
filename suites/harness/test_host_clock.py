"""CPU seconds count work of this process and its children, and no waiting."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from stagegate_baselines.records import HostTime
from stagegate_harness import host_clock
from stagegate_harness.host_clock import HostClock

SPIN = "import time\nwhile time.process_time() < 0.2: pass"


def spin(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def one_round(work: object) -> HostTime:
    clock = HostClock()
    clock.start()
    work()  # type: ignore[operator]
    clock.stop()
    times = clock.times()
    assert times is not None
    return times


def test_nothing_was_measured() -> None:
    clock = HostClock()
    clock.settle()
    assert clock.times() is None


def test_work_is_cpu_time_and_a_sleep_is_not() -> None:
    def work() -> None:
        spin(0.1)
        time.sleep(0.2)

    times = one_round(work)
    [wall], [cpu] = times.wall, times.cpu
    assert 0.1 <= cpu < 0.15
    assert wall >= 0.3


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel counts it on Linux")
def test_waiting_for_a_processor_is_counted() -> None:
    """Work alone is either on a processor or queued for one, whatever else the host does."""
    times = one_round(lambda: spin(0.3))
    assert times.queued is not None
    [wall], [cpu], [queued] = times.wall, times.cpu, times.queued
    assert 0.9 < (cpu + queued) / wall < 1.05
    asleep = one_round(lambda: time.sleep(0.2))
    assert asleep.queued is not None
    assert asleep.queued[0] < 0.1


def test_a_kernel_that_does_not_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host_clock, "_THREADS", tmp_path / "none")
    assert one_round(lambda: None).queued is None
    (tmp_path / "1").mkdir()  # a thread without the file
    monkeypatch.setattr(host_clock, "_THREADS", tmp_path)
    assert one_round(lambda: None).queued is None


def test_children_are_counted_whether_they_ended_or_not() -> None:
    ended = one_round(lambda: subprocess.run([sys.executable, "-c", SPIN], check=True))
    assert ended.children[0] >= 0.19
    assert ended.cpu[0] < 0.15
    with subprocess.Popen([sys.executable, "-c", f"{SPIN}\ntime.sleep(60)"]) as child:
        running = one_round(lambda: time.sleep(1.5))
        child.kill()
    assert running.children[0] > 0
