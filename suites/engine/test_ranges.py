"""The ranges that a profiler shows: steps, their phases, layers, blocks and operators."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from importlib.metadata import files
from pathlib import Path

import pytest

from stagegate.models.registry import load_model_config
from stagegate_harness.kernel_trace import RANGES_VARIABLE

STEPS = 3
# The headers of NVTX look for a tool once in a process, so the traced one is another.
PROGRAM = """
import dataclasses, json, sys
from stagegate import LLM, SamplingParams
from stagegate_harness.kernel_trace import kernel_trace

model, layout, steps = sys.argv[1:]
llm = LLM(model, device="cuda", kv_layout=layout, linear_backend="composed", kv_capacity_tokens=512)
params = SamplingParams(temperature=0, max_tokens=int(steps), ignore_eos=True)
for _ in range(2):
    llm.generate("Down the rabbit hole", params)
with kernel_trace() as trace:
    llm.generate("Down the rabbit hole", params)
print(json.dumps([dataclasses.astuple(item) for item in trace.ranges
                  if item.domain == "stagegate"]))
"""


def cupti_library() -> Path:
    """The library of the wheel that cupti-python stands on."""
    [library] = [file for file in files("nvidia-cuda-cupti") or () if file.match("libcupti.so.*")]
    return Path(str(library.locate()))


@pytest.mark.requires_cupti
def test_a_profiler_sees_steps_layers_and_operators(model_path: Path, kv_layout: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model_path), kv_layout, str(STEPS)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=600,
        env=os.environ | {RANGES_VARIABLE: str(cupti_library())},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ranges = json.loads(done.stdout.splitlines()[-1])
    layers = load_model_config(model_path).decoder.num_layers
    attention = "paged_attention" if kv_layout == "block" else "self_attention_paged"
    every_step = {"step", "operands", "results", "wait"}
    forward = {
        "logits": 1, "layer": layers, "rope_kv_write": layers, attention: layers,
        "swiglu": layers, "linear": 4 * layers + 1, "embedding": 2,
        # A block that ends with a sum norms it for the next; the first and the last stand alone.
        "add_rms_norm": 2 * layers - 1, "add": 1, "rms_norm": 2,
    }  # fmt: skip
    blocks = ("attention_input", "attend", "attention_output", "mlp_input", "mlp_output")
    forward |= dict.fromkeys(blocks, layers)
    # All but the first replay what was captured at the start, sampling included.
    expected = forward | dict.fromkeys(every_step, STEPS) | {"graph": STEPS - 1}
    expected |= dict.fromkeys(("sampling", "sample", "record_samples"), 1)
    found = Counter(name for _, name, *_ in ranges)
    # The row, its table, and a block more where one was full.
    assert found.pop("set_rows") in (2, STEPS)
    assert found == expected
    steps = [(start, end) for _, name, start, end, _ in ranges if name == "step"]
    for _, name, start, end, _ in ranges:
        if name != "wait":  # which is after its step
            assert any(first <= start <= end <= last for first, last in steps), name
