"""Memory that this process holds, on the host and on its GPU."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from typing import Any

import psutil

from stagegate_baselines.nvml import connect
from stagegate_baselines.telemetry import count_others


@dataclass(frozen=True)
class DeviceMemory:
    """whose: whether it is all this process's, in words."""

    size_bytes: int
    whose: str


def host_bytes() -> int:
    """Resident set of this process, with no garbage in it."""
    gc.collect()
    size: int = psutil.Process().memory_info().rss
    return size


def device_memory() -> DeviceMemory:
    """Memory that this process uses on its GPU.

    Inside a container the driver may not know the process by the number it has there, or tell no
    sizes. Then all of the GPU is taken for it, which fails where that cannot be right.
    """
    nvml = connect()
    assert nvml is not None, "no NVML: pip install nvidia-ml-py"
    try:
        count = nvml.nvmlDeviceGetCount()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        processes = [process for handle in handles for process in _processes(nvml, handle)]
        own = [
            process.usedGpuMemory
            for process in processes
            if process.pid == os.getpid() and process.usedGpuMemory is not None
        ]
        if own:
            return DeviceMemory(sum(own), "this process's")
        assert count == 1, (
            f"NVML does not tell which of {count} GPUs is this process's: lend it one"
        )
        others = count_others([process.pid for process in processes])
        assert others == 0, (
            f"NVML does not tell this process's memory, and {others} more are on its GPU: "
            "give it a GPU of its own"
        )
        known = "no process else is" if processes else "NVML names no process"
        used = int(nvml.nvmlDeviceGetMemoryInfo(handles[0]).used)
        return DeviceMemory(used, f"all of the GPU's, where {known}")
    finally:
        nvml.nvmlShutdown()


def _processes(nvml: Any, handle: Any) -> list[Any]:
    """Empty if the driver does not report processes."""
    try:
        return list(nvml.nvmlDeviceGetComputeRunningProcesses(handle))
    except nvml.NVMLError:
        return []
