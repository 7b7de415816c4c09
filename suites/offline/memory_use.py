"""Memory that this process holds, on the host and on its device."""

from __future__ import annotations

import os
from typing import Any

import psutil

from baselines.nvml import connect


def host_bytes() -> int:
    """Resident set of this process."""
    size: int = psutil.Process().memory_info().rss
    return size


def device_bytes() -> int:
    """Memory of the first GPU that is taken: by this process, or by all of them.

    Inside a container the driver may not know the process by the number it has there.
    """
    nvml = connect()
    assert nvml is not None, "no NVML: pip install nvidia-ml-py"
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        own = [
            process.usedGpuMemory
            for process in _processes(nvml, handle)
            if process.pid == os.getpid() and process.usedGpuMemory is not None
        ]
        return int(own[0] if own else nvml.nvmlDeviceGetMemoryInfo(handle).used)
    finally:
        nvml.nvmlShutdown()


def _processes(nvml: Any, handle: Any) -> list[Any]:
    """Empty where the driver does not tell."""
    try:
        return list(nvml.nvmlDeviceGetComputeRunningProcesses(handle))
    except nvml.NVMLError:
        return []
