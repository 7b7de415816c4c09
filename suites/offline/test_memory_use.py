"""GPU memory is attributed to this process, or no other process may use the GPU."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from suites.offline import memory_use

NOBODY = 2**22 + 1  # above the most that a process id of Linux can be


class FakeNvml:
    """One GPU or more with 900 bytes taken of each; every process is on the first."""

    NVMLError = RuntimeError

    def __init__(self, *processes: tuple[int, int | None], gpus: int = 1) -> None:
        self._processes = [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in processes]
        self._gpus = gpus

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self._gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:  # noqa: N802
        return self._processes if handle == 0 else []

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used=900)

    def nvmlShutdown(self) -> None:  # noqa: N802
        pass


def measured(monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml) -> memory_use.DeviceMemory:
    monkeypatch.setattr(memory_use, "connect", lambda: nvml)
    return memory_use.device_memory()


def test_others_do_not_count_where_the_driver_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(monkeypatch, FakeNvml((os.getppid(), 500), (os.getpid(), 300), gpus=2))
    assert (found.size_bytes, found.whose) == (300, "this process's")


@pytest.mark.parametrize("processes", [[], [(NOBODY, None)], [(os.getpid(), None)]])
def test_all_memory_counts_without_other_processes(
    monkeypatch: pytest.MonkeyPatch, processes: list[tuple[int, int | None]]
) -> None:
    found = measured(monkeypatch, FakeNvml(*processes))
    assert found.size_bytes == 900
    assert found.whose.startswith("all of the GPU's")


def test_memory_that_cannot_be_attributed_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="1 more are on its GPU"):
        measured(monkeypatch, FakeNvml((NOBODY, None), (NOBODY + 1, None)))
    with pytest.raises(AssertionError, match="which of 2 GPUs"):
        measured(monkeypatch, FakeNvml(gpus=2))
