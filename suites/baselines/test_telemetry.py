"""GPUs are sampled by name and reason; what spoils a measurement is told from what does not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from stagegate_baselines.records import TelemetrySample
from stagegate_baselines.telemetry import Telemetry, broken_conditions, reason_names


class FakeNVML:
    """Two cards; the second tells neither power nor its processes."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.reasons = 0
        self.pids = [os.getpid()]
        self.asked = threading.Event()

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        if handle == 1:
            raise self.NVMLError
        return 123_456

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(used=10**9 + handle)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:  # noqa: N802
        if handle == 1:
            self.asked.set()
            raise self.NVMLError
        return [SimpleNamespace(pid=pid) for pid in self.pids]

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:  # noqa: N802
        return 1000 * kind + handle

    def nvmlDeviceGetTemperature(self, handle: int, _: int) -> int:  # noqa: N802
        return 40 + handle

    def nvmlDeviceGetCurrentClocksEventReasons(self, _: int) -> int:  # noqa: N802
        return self.reasons


@pytest.fixture
def nvml() -> FakeNVML:
    return FakeNVML()


def test_a_sample_of_every_card(nvml: FakeNVML) -> None:
    times = iter([0.0, 10.0, 12.5])
    telemetry = Telemetry(nvml, clock=lambda: next(times))
    nvml.reasons = 0x44
    telemetry.sample()
    assert telemetry.samples() == (
        TelemetrySample(
            seconds=10.0,
            gpu=0,
            sm_clock_mhz=1000,
            memory_clock_mhz=2000,
            power_w=123.456,
            temperature_c=40,
            memory_used_bytes=10**9,
            throttle_reasons=("sw-power-cap", "hw-thermal-slowdown"),
            other_processes=0,
        ),
        TelemetrySample(
            seconds=10.0,
            gpu=1,
            sm_clock_mhz=1001,
            memory_clock_mhz=2001,
            power_w=None,
            temperature_c=41,
            memory_used_bytes=10**9 + 1,
            throttle_reasons=("sw-power-cap", "hw-thermal-slowdown"),
            other_processes=0,
        ),
    )
    telemetry.sample()
    assert {sample.seconds for sample in telemetry.samples(since=11.0)} == {12.5}


def test_the_thread_samples_until_it_is_stopped(nvml: FakeNVML) -> None:
    with Telemetry(nvml, interval_s=0.001) as telemetry:
        assert nvml.asked.wait(10)
        nvml.asked.clear()
        assert nvml.asked.wait(10)
    taken = len(telemetry.samples())
    assert taken >= 2
    telemetry.stop()
    assert len(telemetry.samples()) in (taken, taken + 1)
    assert not any(thread.name == "telemetry" for thread in threading.enumerate())


def test_children_are_no_strangers(nvml: FakeNVML) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        nvml.pids = [os.getpid(), child.pid, os.getppid()]
        telemetry = Telemetry(nvml)
        telemetry.sample()
        child.communicate(b"\n")
    assert telemetry.samples()[0].other_processes == 1


@pytest.mark.parametrize(("foreign", "others"), [(1, 0), (2, 1), (3, 2)])
def test_process_ids_of_the_host(nvml: FakeNVML, foreign: int, others: int) -> None:
    """In a container one of the unknown ids is this process."""
    beyond = 2**22  # the largest id Linux gives out
    nvml.pids = [beyond + index for index in range(1, foreign + 1)]
    telemetry = Telemetry(nvml)
    telemetry.sample()
    assert telemetry.samples()[0].other_processes == others


def test_reasons_have_names() -> None:
    assert reason_names(0) == ()
    assert reason_names(0x1FF) == (
        "gpu-idle",
        "applications-clocks-setting",
        "sw-power-cap",
        "hw-slowdown",
        "sync-boost",
        "sw-thermal-slowdown",
        "hw-thermal-slowdown",
        "hw-power-brake-slowdown",
        "display-clock-setting",
    )
    assert reason_names(0x400) == ("0x400",)


def test_names_are_those_of_the_library() -> None:
    pynvml = pytest.importorskip("pynvml")
    assert reason_names(pynvml.nvmlClocksEventReasonSwPowerCap) == ("sw-power-cap",)
    for name in ("SwThermalSlowdown", "DisplayClockSetting", "SyncBoost", "GpuIdle"):
        mask = getattr(pynvml, f"nvmlClocksEventReason{name}")
        assert reason_names(mask)[0].replace("-", "") == name.lower()
    for name in ("HwThermalSlowdown", "HwPowerBrakeSlowdown", "HwSlowdown"):
        mask = getattr(pynvml, f"nvmlClocksThrottleReason{name}")
        assert reason_names(mask)[0].replace("-", "") == name.lower()


def test_what_spoils_a_measurement(nvml: FakeNVML) -> None:
    telemetry = Telemetry(nvml)
    for reasons, pids in ((0x1 | 0x4, []), (0x20, []), (0, [1, 2])):
        nvml.reasons, nvml.pids = reasons, pids
        telemetry.sample()
    assert broken_conditions(telemetry.samples()) == (
        "GPU 0: other processes in 1 of 3 samples",
        "GPU 0: sw-thermal-slowdown in 1 of 3 samples",
        "GPU 1: sw-thermal-slowdown in 1 of 3 samples",
    )
    assert broken_conditions(telemetry.samples()[:2]) == ()
    assert broken_conditions(()) == ()
