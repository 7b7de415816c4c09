"""What a step does on its device: where its operators run, what it copies, what memory it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine import LLM, SamplingParams
from engine._C import Ledger
from engine.config import EngineConfig
from engine.models.registry import load_model_config
from engine.worker import Worker

PROMPTS = ["Alice was", "Down the rabbit hole she went, and", "The Queen"]
SAMPLED = SamplingParams(
    temperature=1.0, top_k=40, top_p=0.95, repetition_penalty=1.1, seed=1, logprobs=3,
    max_tokens=12, ignore_eos=True,
)  # fmt: skip


@pytest.fixture
def llm(model_path: Path, device: str, layout: str, attention: str, num_threads: int) -> LLM:
    return LLM(
        model_path, device=device, layout=layout, kv_capacity_tokens=1024, num_threads=num_threads,
        backend=attention if layout == "block" else "csr",
    )  # fmt: skip


@pytest.mark.criterion("s2.no-fallback", "s5.no-fallback")
def test_every_operator_runs_on_the_device(llm: LLM, device: str) -> None:
    with Ledger() as ledger:
        llm.generate(PROMPTS, SAMPLED)
    used = {op for op, _ in ledger.dispatches}
    attention = {"paged_attention", "self_attention_paged"}
    assert used >= {
        "embedding",
        "linear",
        "rms_norm",
        "rope",
        "kv_write",
        "swiglu",
        "add",
        "sample",
    }
    assert len(used & attention) == 1
    assert {where.partition(":")[0] for _, where in ledger.dispatches} == {device}


@pytest.mark.criterion("s1.no-host-path", "s4.resident")
def test_a_step_crosses_once_each_way(llm: LLM, device: str) -> None:
    llm.generate("warm up", SAMPLED)
    with Ledger() as ledger:
        llm.generate(PROMPTS, SAMPLED)
    if device == "cpu":
        assert ledger.copies == {}
        return
    counts = {key: count for key, (count, _) in ledger.copies.items()}
    steps = counts["step operands", "host to device"]
    assert counts == {
        ("step operands", "host to device"): steps,
        ("step results", "device to host"): steps,
        ("fault", "device to host"): steps,
    }
    # What crosses is ids and metadata; one layer's weights are more.
    crossed = sum(size for _, size in ledger.copies.values())
    assert crossed / steps < 64 * 1024


@pytest.mark.criterion("s4.resident")
def test_weights_workspace_and_kv_take_device_memory(
    model_path: Path, device: str, num_threads: int
) -> None:
    model = load_model_config(model_path)
    config = EngineConfig(
        model=model_path, device=device, dtype="f32", num_threads=num_threads, deterministic=False
    )
    worker = Worker(config, model, "f32")
    free = worker.prepare(max_tokens=512, max_rows=64, max_positions=512)
    assert free > 0
    worker.allocate(4096)
    held = worker.memory_bytes
    kv_bytes = 2 * model.num_layers * 4096 * model.num_kv_heads * model.head_dim * 4
    assert held["kv"] == kv_bytes
    assert held["weights"] >= 4 * model.vocab_size * model.hidden_size
    assert held["workspace"] >= 4 * 64 * model.vocab_size
    if device == "cuda":
        import pynvml

        pynvml.nvmlInit()
        used = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used
        assert used >= sum(held.values())


@pytest.mark.criterion("s3.decode-path")
def test_decode_agrees_between_the_attention_forms(
    model_path: Path, device: str, num_threads: int
) -> None:
    params = SamplingParams(temperature=0, max_tokens=48, ignore_eos=True, logprobs=0)
    found = []
    for backend in ("native", "csr"):
        llm = LLM(
            model_path, device=device, dtype="f32", backend=backend, kv_capacity_tokens=1024,
            num_threads=num_threads,
        )  # fmt: skip
        for _ in range(2):  # the second time behind prefix hits
            found.append([output.outputs[0] for output in llm.generate(PROMPTS, params)])
    for outputs in found[1:]:
        for output, first in zip(outputs, found[0], strict=True):
            assert output.token_ids == first.token_ids
            logprobs = [[t.logprob for t in (o.logprobs or [])] for o in (output, first)]
            np.testing.assert_allclose(*logprobs, atol=1e-4)
