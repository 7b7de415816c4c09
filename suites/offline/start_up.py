"""Starts an engine, generates one token and prints what that took, as JSON.

    python -m suites.offline.start_up MODEL DEVICE NUM_THREADS KV_CAPACITY_TOKENS

In a process of its own: its imports are a part of the start, and its memory is the engine's alone.
startup_s: from here to the end of the first token. peak_bytes: on a GPU the memory that the process
added to what was in use, on a CPU the largest resident set.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

from stagegate_baselines.nvml import connect


def main(model: str, device: str, num_threads: str, kv_capacity_tokens: str) -> None:
    before = 0 if device == "cpu" else _gpu_bytes_in_use()
    started = time.perf_counter()
    from stagegate import LLM, SamplingParams

    llm = LLM(
        model,
        device=device,
        num_threads=int(num_threads),
        kv_capacity_tokens=int(kv_capacity_tokens),
    )
    llm.generate([[0]], SamplingParams(temperature=0, max_tokens=1, ignore_eos=True))
    startup_s = time.perf_counter() - started
    held = llm.engine.executor.memory_bytes
    found: dict[str, Any] = {
        "startup_s": startup_s,
        "weights_bytes": held["weights"],
        "kv_cache_bytes": held["kv"],
        "workspace_bytes": held["workspace"],
        "peak_bytes": (
            1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if device == "cpu"
            else _gpu_bytes_in_use() - before
        ),
    }
    print(json.dumps(found))


def _gpu_bytes_in_use() -> int:
    """Of the first GPU, by whichever process."""
    nvml = connect()
    if nvml is None:
        sys.exit("no NVML: pip install nvidia-ml-py")
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(0)).used)
    finally:
        nvml.nvmlShutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
