"""What a step does on its device: where its operators run, what it copies, what memory it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stagegate import LLM, SamplingParams
from stagegate._C import Ledger
from stagegate.config import LINEAR_BACKENDS
from stagegate.models.registry import load_model_config
from stagegate.outputs import CompletionOutput
from suites.offline.same_answer import is_same_answer, near_tie

ROOT = Path(__file__).parents[2]
GIB = 1 << 30
PROMPTS = ["Alice was", "Down the rabbit hole she went, and", "The Queen"]
SAMPLED = SamplingParams(
    temperature=1.0, top_k=40, top_p=0.95, repetition_penalty=1.1, seed=1, logprobs=3,
    max_tokens=12, ignore_eos=True,
)  # fmt: skip


@pytest.fixture(params=LINEAR_BACKENDS)
def llm(
    request: pytest.FixtureRequest,
    model_path: Path,
    device: str,
    kv_layout: str,
    attention: str,
    num_threads: int,
) -> LLM:
    return LLM(
        model_path, device=device, kv_layout=kv_layout, kv_capacity_tokens=1024,
        attention_backend=attention if kv_layout == "block" else "csr",
        linear_backend=request.param, num_threads=num_threads,
    )  # fmt: skip


@pytest.mark.criterion("s2.no-fallback", "s5.no-fallback")
def test_every_operator_runs_on_the_device(llm: LLM, device: str, kv_layout: str) -> None:
    with Ledger() as ledger:
        llm.generate(PROMPTS, SAMPLED)
    used = {op for op, _ in ledger.dispatches}
    attention = {"paged_attention", "self_attention_paged"}
    # What a GPU does in one pass the CPU composes.
    passes = {
        "cpu": {"rope", "kv_write", "add", "rms_norm"},
        "cuda": {"rope_kv_write", "add_rms_norm", "rms_norm"},
    }
    assert used >= {"embedding", "sample"}
    # Else a kernel may compute a block whole, under the name of the block.
    if llm.engine.config.linear_backend == "composed":
        assert used >= passes[device] | {"linear", "swiglu"}
    # The prompt by its rows of slots, what follows by tables of blocks, which are slots here.
    by_slots = kv_layout == "slot"
    assert len(used & attention) == 1 + by_slots
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
    steps = counts["step results", "device to host"]
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
    decoder = load_model_config(model_path).decoder
    per_slot = 2 * decoder.num_layers * decoder.num_kv_heads * decoder.head_dim * 4
    # On a GPU far more than a process takes for anything else; a host gives pages when written to.
    num_slots = -(-GIB // per_slot) if device == "cuda" else 4096
    command = [
        sys.executable, "-m", "suites.engine.executor_memory",
        str(model_path), device, str(num_threads), str(num_slots),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    held = found["held"]
    assert found["free"] > 0
    assert held["kv"] == num_slots * per_slot
    assert held["weights"] >= 4 * decoder.vocab_size * decoder.hidden_size
    assert held["workspace"] >= 4 * 64 * decoder.vocab_size
    if device == "cuda":
        # The rest is what the driver loads kernels into; a second copy of anything would be more.
        assert held["kv"] <= found["taken"] < 1.5 * sum(held.values())


@pytest.mark.criterion("s3.decode-path")
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_16_bit_decode_agrees_between_the_attention_forms(
    model_path: Path, device: str, num_threads: int, dtype: str
) -> None:
    """On a GPU by another kernel, on tensor cores; rounding may turn a near tie."""
    greedy = SamplingParams(temperature=0, max_tokens=48, ignore_eos=True, logprobs=5)
    answers: list[list[CompletionOutput]] = []
    tolerance = 0.0
    for attention_backend in ("native", "csr"):
        llm = LLM(
            model_path, device=device, dtype=dtype, attention_backend=attention_backend,
            kv_capacity_tokens=1024, num_threads=num_threads,
        )  # fmt: skip
        tolerance = max(tolerance, near_tie(llm.engine.config))
        for _ in range(2):  # the second time behind prefix hits
            answers.append([output.outputs[0] for output in llm.generate(PROMPTS, greedy)])
    for outputs in answers[1:]:
        for output, first in zip(outputs, answers[0], strict=True):
            assert len(output.token_ids) == 48
            assert is_same_answer(output.token_ids, first, tolerance)


@pytest.mark.criterion("s3.decode-path")
def test_decode_agrees_between_the_attention_forms(
    model_path: Path, device: str, num_threads: int
) -> None:
    params = SamplingParams(temperature=0, max_tokens=48, ignore_eos=True, logprobs=0)
    found = []
    for attention_backend in ("native", "csr"):
        llm = LLM(
            model_path, device=device, dtype="f32", attention_backend=attention_backend,
            kv_capacity_tokens=1024, num_threads=num_threads,
        )  # fmt: skip
        for _ in range(2):  # the second time behind prefix hits
            found.append([output.outputs[0] for output in llm.generate(PROMPTS, params)])
    for outputs in found[1:]:
        for output, first in zip(outputs, found[0], strict=True):
            assert output.token_ids == first.token_ids
            now, before = ([t.logprob for t in (o.logprobs or [])] for o in (output, first))
            np.testing.assert_allclose(now, before, atol=1e-4)


@pytest.mark.criterion("s3.decode-path")
@pytest.mark.parametrize("penalty", [0.0, 0.5])
def test_a_decode_goes_by_the_rows_of_its_sequences(
    llm: LLM, kv_layout: str, device: str, penalty: float
) -> None:
    """Nothing but new blocks crosses, wherever attention takes block tables."""
    params = SamplingParams(
        temperature=0.7, seed=3, max_tokens=12, ignore_eos=True, presence_penalty=penalty
    )
    llm.generate("warm up", params)
    with Ledger() as ledger:
        llm.generate(PROMPTS, params)
    gathered = sum(count for (op, _), count in ledger.dispatches.items() if op == "gather_rows")
    by_tables = kv_layout == "slot" or llm.engine.config.attention_backend == "native"
    assert gathered == (11 if by_tables else 0)
    if device != "cpu" and by_tables:
        crossed = {key: size for key, (_, size) in ledger.copies.items()}
        # The step with the prompts, then a few numbers for each of the others.
        assert crossed["step operands", "host to device"] < 16 * 1024 + 11 * 8 * 1024
