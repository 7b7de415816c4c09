"""What a decode step has a GPU do, as a trace of its kernels, copies and CUDA calls shows it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stagegate import EngineConfig, SamplingParams
from stagegate._C import Ledger
from stagegate.build import build_engine
from stagegate.config import LINEAR_BACKENDS
from stagegate.core.llm_engine import LLMEngine
from stagegate.execution.worker import Worker
from stagegate.models.registry import load_model_config
from stagegate_harness.hot_path import as_text, hot_path_of, kernel_counts
from stagegate_harness.kernel_trace import kernel_trace
from stagegate_harness.trace_events import Trace
from suites.engine.cuda_calls import ALLOCATION, LAUNCH, WAITING, names_of

pytestmark = [
    pytest.mark.requires_gpu,
    pytest.mark.requires_cupti,
    pytest.mark.criterion("s5.hot-path"),
]

STEPS = 8
# Long enough that attention splits the keys.
PROMPT_LEN = 300
SAMPLING = {
    "greedy": SamplingParams(temperature=0, max_tokens=64, ignore_eos=True),
    "sampled": SamplingParams(
        temperature=1.0, top_k=40, top_p=0.95, repetition_penalty=1.1, seed=1, logprobs=3,
        max_tokens=64, ignore_eos=True,
    ),
    "penalties": SamplingParams(
        temperature=1.0, repetition_penalty=1.1, presence_penalty=0.3, frequency_penalty=0.2,
        seed=1, max_tokens=64, ignore_eos=True,
    ),
}  # fmt: skip

# The kernel that each call of an operator launches once. Not here: linear, whose kernels are those
# of cuBLAS or our own.
KERNELS = {
    "embedding": "embedding_kernel",
    "set_rows": "append_blocks_kernel",
    "gather_rows": "gather_rows_kernel",
    "record_samples": "record_samples_kernel",
    "rms_norm": "rms_norm_kernel",
    "rope_kv_write": "rope_kv_write_kernel",
    "paged_attention": "decode_kernel",
    "self_attention_paged": "decode_kernel",
    "swiglu": "swiglu_kernel",
    "add": "add_kernel",
    "add_rms_norm": "add_rms_norm_kernel",
    "sample": "reduce_parts",
    # Blocks that one kernel computes whole.
    "attention_input": "normed_product",
    "mlp_input": "normed_product",
    "logits": "normed_product",
    "attention_output": "added_product",
    "mlp_output": "added_product",
}
# What a block is composed of where no kernel computes it whole; norms may be those of others.
PARTS = {
    "attention_input": {"linear", "rope_kv_write"},
    "attention_output": {"linear"},
    "mlp_input": {"linear", "swiglu"},
    "mlp_output": {"linear"},
    "logits": {"embedding", "rms_norm", "linear"},
}
# Launched by some of them besides. What bears none of these names is a matrix product.
BESIDES = {"find_buckets", "run_race", "finish"}


class WaitedWorker(Worker):
    """Steps one at a time, each within its trace."""

    overlaps = False


def start(
    model_path: Path,
    kv_layout: str,
    kind: type[Worker] = WaitedWorker,
    linear_backend: str = "auto",
) -> LLMEngine:
    config = EngineConfig(
        model_path, device="cuda", kv_layout=kv_layout, linear_backend=linear_backend,
        kv_capacity_tokens=2048,
    )  # fmt: skip
    model = load_model_config(model_path)
    return build_engine(config, executor=kind(config, model, model.dtype))


def queue(engine: LLMEngine, params: SamplingParams) -> None:
    rng = np.random.default_rng(0)
    for prompt in rng.integers(0, engine.model.decoder.vocab_size, (3, PROMPT_LEN)).tolist():
        engine.add_request(prompt, params)


@pytest.fixture(params=SAMPLING)
def params(request: pytest.FixtureRequest) -> SamplingParams:
    return SAMPLING[request.param]


@pytest.fixture(params=LINEAR_BACKENDS)
def steps(
    request: pytest.FixtureRequest, model_path: Path, kv_layout: str, params: SamplingParams
) -> list[tuple[Trace, Ledger]]:
    """Each of some decode steps of three sequences, when all memory has been taken."""
    engine = start(model_path, kv_layout, linear_backend=request.param)
    queue(engine, params)  # the longest step there will be, and the products of its shapes
    while engine.unfinished_requests:
        engine.step()
    queue(engine, params)
    for _ in range(4):  # the prompts, and steps that nobody looks at
        engine.step()
    traced = []
    for _ in range(STEPS):
        with Ledger() as ledger, kernel_trace(calls=True) as trace:
            engine.step()
        traced.append((trace, ledger))
    assert engine.num_running == 3
    return traced


def test_every_operator_is_kernels(steps: list[tuple[Trace, Ledger]]) -> None:
    for trace, ledger in steps:
        counts = kernel_counts(trace.kernels)
        assert {where.partition(":")[0] for _, where in ledger.dispatches} == {"cuda"}
        dispatched = {op: count for (op, _), count in ledger.dispatches.items()}
        assert dispatched.keys() <= KERNELS.keys() | {"linear"}
        for block, parts in PARTS.items():
            assert block in dispatched or parts <= dispatched.keys(), block
        launches: Counter[str] = Counter()
        for op in dispatched.keys() - {"linear"}:
            launches[KERNELS[op]] += dispatched[op]
        for name, count in launches.items():
            assert counts[name] == count, name
        for name in BESIDES:
            assert counts[name] == dispatched["sample"], name
        # Of a product: itself, and at most one kernel that adds parts of its sum or a bias.
        products = {
            name: count
            for name, count in counts.items()
            if name not in BESIDES and name not in KERNELS.values()
        }
        linear = dispatched.get("linear", 0)
        assert linear <= sum(products.values()) <= 2 * linear, products
        assert "copy_kernel" not in products
        path = hot_path_of(trace)
        assert path is not None
        copies_us = sum(copy.total_us for copy in path.copies)
        assert copies_us < path.device_us / 2, as_text(path)


def test_a_step_crosses_for_operands_results_and_faults_alone(
    steps: list[tuple[Trace, Ledger]],
) -> None:
    for trace, ledger in steps:
        counts = {key: count for key, (count, _) in ledger.copies.items()}
        # A decode that goes on as it did, without a new block, needs nothing from the host.
        assert counts.pop(("step operands", "host to device"), 1) == 1
        assert counts == {("step results", "device to host"): 1, ("fault", "device to host"): 1}
        stated = sorted((key[1], size) for key, (_, size) in ledger.copies.items())
        assert sorted((copy.direction, copy.size_bytes) for copy in trace.copies) == stated
        assert trace.fills == []


def test_a_step_takes_no_memory_and_stops_no_device(steps: list[tuple[Trace, Ledger]]) -> None:
    for trace, _ in steps:
        assert names_of(trace, LAUNCH)  # calls were seen at all
        assert names_of(trace, ALLOCATION) == []
        assert names_of(trace, WAITING, whole=True) == []


def test_a_decode_is_one_graph(steps: list[tuple[Trace, Ledger]]) -> None:
    """With the sampling in it, or behind it where that takes lists from the host."""
    for trace, _ in steps:
        graphs = [name for name in names_of(trace, LAUNCH) if name.startswith("cudaGraph")]
        assert len(graphs) == 1


@pytest.mark.parametrize("sampling", ["greedy", "penalties"])
def test_steps_are_queued_ahead_as_graphs(model_path: Path, kv_layout: str, sampling: str) -> None:
    """Without a wait for anything but the results of the step before."""
    engine = start(model_path, kv_layout, Worker)
    params = SAMPLING[sampling]
    queue(engine, params)  # to take all memory
    while engine.unfinished_requests:
        engine.step()
    assert params.max_tokens is not None
    queue(engine, params)
    for _ in range(params.max_tokens - STEPS):
        engine.step()
    with Ledger() as ledger, kernel_trace(calls=True) as trace:
        while engine.unfinished_requests:
            engine.step()
    for op in ("gather_rows", "sample", "record_samples"):
        assert ledger.dispatches[op, "cuda:0"] == STEPS
    graphs = [name for name in names_of(trace, LAUNCH) if name.startswith("cudaGraph")]
    assert len(graphs) == STEPS
    assert names_of(trace, ALLOCATION) == []
    assert names_of(trace, WAITING, whole=True) == []


def test_every_step_launches_the_same(steps: list[tuple[Trace, Ledger]]) -> None:
    counts = [kernel_counts(trace.kernels) for trace, _ in steps]
    for step in counts:
        step.pop(KERNELS["set_rows"], None)  # a block more, in one step of many
    assert all(step == counts[0] for step in counts)
    assert {kernel.stream for trace, _ in steps for kernel in trace.kernels} == {
        steps[0][0].kernels[0].stream
    }


def test_a_trace_shows_what_a_step_must_not_do(model_path: Path, kv_layout: str) -> None:
    """Starting an engine does all of it, so the patterns above are of names that occur."""
    with kernel_trace(calls=True) as trace:
        engine = start(model_path, kv_layout)
        engine.add_request("Alice", SamplingParams(max_tokens=1))
        engine.step()
    assert names_of(trace, ALLOCATION)
    assert names_of(trace, WAITING, whole=True)
    assert {copy.direction for copy in trace.copies} >= {"host to device"}
