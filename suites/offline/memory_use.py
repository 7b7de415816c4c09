"""Memory that this process holds, on the host and on its device."""

from __future__ import annotations

import os

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
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
            if process.pid == os.getpid() and process.usedGpuMemory is not None:
                return int(process.usedGpuMemory)
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).used)
    finally:
        nvml.nvmlShutdown()
