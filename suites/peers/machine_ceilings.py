"""What the machine can do at best, measured in a process that leaves no memory taken on the GPU.

python -m suites.peers.machine_ceilings DEVICE NUM_THREADS prints it as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from stagegate_harness.ceilings import Ceilings, measure_ceilings

_ROOT = Path(__file__).parents[2]


def measured_apart(device: str, num_threads: int) -> Ceilings:
    done = subprocess.run(
        [sys.executable, "-m", "suites.peers.machine_ceilings", device, str(num_threads)],
        cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return Ceilings(**json.loads(done.stdout))


def main(device: str, num_threads: str) -> None:
    if device == "cpu":
        found = measure_ceilings(int(num_threads))
    else:
        from suites.adapter.gpu_ceilings import measure_gpu_ceilings

        found = measure_gpu_ceilings()
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
