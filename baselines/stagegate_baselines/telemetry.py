"""What the GPUs did while they were measured, and whether that spoils the measurement."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from stagegate_baselines.records import TelemetrySample

# nvml.h, nvmlClocksEventReasons.
_REASONS = {
    0x001: "gpu-idle",
    0x002: "applications-clocks-setting",
    0x004: "sw-power-cap",
    0x008: "hw-slowdown",
    0x010: "sync-boost",
    0x020: "sw-thermal-slowdown",
    0x040: "hw-thermal-slowdown",
    0x080: "hw-power-brake-slowdown",
    0x100: "display-clock-setting",
}
# A card at its power limit is a card at work; one that is too hot or starved is not itself.
_SPOILING = ("hw-slowdown", "sw-thermal-slowdown", "hw-thermal-slowdown", "hw-power-brake-slowdown")


class Telemetry:
    """Samples every GPU in a thread of its own between start and stop; also a context manager.

    nvml: the module pynvml, initialised. Times count from start.
    """

    def __init__(
        self,
        nvml: Any,
        *,
        interval_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nvml = nvml
        self._interval_s = interval_s
        self._clock = clock
        self._handles = [
            nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())
        ]
        self._samples: list[TelemetrySample] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._began = clock()

    def start(self) -> None:
        self._began = self._clock()
        self._thread.start()

    def stop(self) -> None:
        """Take no more samples; those taken stay. May be called again."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Telemetry:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def seconds(self) -> float:
        """Since the start."""
        return self._clock() - self._began

    def samples(self, since: float = 0.0) -> tuple[TelemetrySample, ...]:
        """Those of `since` seconds after the start and later."""
        return tuple(sample for sample in list(self._samples) if sample.seconds >= since)

    def sample(self) -> None:
        """Take one sample of every GPU now."""
        seconds = round(self.seconds(), 3)
        for index, handle in enumerate(self._handles):
            self._samples.append(self._read(seconds, index, handle))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.sample()
            self._stopping.wait(self._interval_s)

    def _read(self, seconds: float, index: int, handle: Any) -> TelemetrySample:
        nvml = self._nvml

        def ask(function: Any, *arguments: object) -> Any:
            """None for what this card or driver does not tell."""
            try:
                return function(handle, *arguments)
            except nvml.NVMLError:
                return None

        power = ask(nvml.nvmlDeviceGetPowerUsage)
        memory = ask(nvml.nvmlDeviceGetMemoryInfo)
        processes = ask(nvml.nvmlDeviceGetComputeRunningProcesses) or ()
        return TelemetrySample(
            seconds=seconds,
            gpu=index,
            sm_clock_mhz=ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
            memory_clock_mhz=ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_MEM),
            power_w=None if power is None else power / 1000,
            temperature_c=ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
            memory_used_bytes=None if memory is None else memory.used,
            throttle_reasons=reason_names(ask(nvml.nvmlDeviceGetCurrentClocksEventReasons) or 0),
            other_processes=count_others([process.pid for process in processes]),
        )


def count_others(pids: Sequence[int]) -> int:
    """Processes on a GPU beside this one and its children.

    In a container NVML may tell process ids of the host. Then one of them is taken to be ours, as
    it is whenever the engine runs.
    """
    if not pids:
        return 0
    import psutil

    this = psutil.Process()
    ours = {this.pid, *(child.pid for child in this.children(recursive=True))}
    strangers = [pid for pid in pids if pid not in ours]
    if len(strangers) == len(pids) and not any(map(psutil.pid_exists, pids)):
        return len(pids) - 1
    return len(strangers)


def reason_names(bits: int) -> tuple[str, ...]:
    """Names of a mask of clock event reasons; bits this version does not know in hexadecimal."""
    single = [1 << place for place in range(bits.bit_length()) if bits >> place & 1]
    return tuple(_REASONS.get(bit, hex(bit)) for bit in single)


def broken_conditions(samples: Sequence[TelemetrySample]) -> tuple[str, ...]:
    """Why numbers measured under these conditions must not be used; empty when they may."""
    spoilt: Counter[str] = Counter()
    for sample in samples:
        spoilt.update(
            f"GPU {sample.gpu}: {reason}"
            for reason in sample.throttle_reasons
            if reason in _SPOILING
        )
        if sample.other_processes:
            spoilt[f"GPU {sample.gpu}: other processes"] += 1
    counts = Counter(sample.gpu for sample in samples)
    return tuple(
        f"{what} in {count} of {counts[int(what.split(':')[0][4:])]} samples"
        for what, count in sorted(spoilt.items())
    )
