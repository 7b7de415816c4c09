"""What a worker takes of its device, as JSON: python -m suites.engine.executor_memory MODEL DEVICE
NUM_THREADS NUM_SLOTS.

In a process of its own: the pool of a process keeps what its tests released, and would serve a
worker from that without asking the driver.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from stagegate import _C
from stagegate.config import EngineConfig
from stagegate.execution.worker import Worker
from stagegate.kv.slot_manager import SlotManager
from stagegate.models.registry import load_model_config
from suites.offline.memory_use import device_memory


def main(model_path: str, device: str, num_threads: str, num_slots: str) -> None:
    config = EngineConfig(
        model=Path(model_path),
        device=device,
        dtype="f32",
        num_threads=int(num_threads),
        deterministic=False,
    )
    # Else what a process takes for itself, and for its libraries, would count.
    context = _C.Context(device)
    before = device_memory().size_bytes if device == "cuda" else 0
    worker = Worker(config, load_model_config(config.model), "f32")
    free = worker.prepare(max_tokens=512, max_rows=64, max_positions=512)
    worker.allocate(SlotManager(int(num_slots)))
    context.synchronize()
    taken = device_memory().size_bytes - before if device == "cuda" else 0
    print(json.dumps({"free": free, "held": worker.memory_bytes, "taken": taken}))


if __name__ == "__main__":
    main(*sys.argv[1:])
