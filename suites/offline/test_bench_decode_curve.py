"""Benchmark: what a decode step costs by context and batch, as far as the KV cache has room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stagegate import LLM
from stagegate.kv.sizing import kv_bytes_per_token
from stagegate_harness.ceilings import Ceilings
from stagegate_harness.measure import Measure, Metrics
from suites.offline.least_work import decode_work
from suites.offline.steady_decode import SteadyDecode
from suites.offline.throughput_model import digest_of, preset_for

BATCHES = (1, 8, 64, 256)
CONTEXT_LENS = (256, 1024, 4096, 16384, 32768)
# A CPU only shows that the curve can be measured. A GPU has other engines beside this one.
CPU_CAPACITY_TOKENS = 4096
GPU_KV_MEMORY = 0.8

pytestmark = pytest.mark.benchmark(group="decode-curve")


@pytest.fixture(scope="module")
def folder(random_checkpoint: Callable[[str], Path], device: str) -> Path:
    return random_checkpoint(preset_for(device))


@pytest.fixture(scope="module")
def llm(folder: Path, device: str, num_threads: int) -> LLM:
    return LLM(
        folder,
        device=device,
        num_threads=num_threads,
        kv_capacity_tokens=CPU_CAPACITY_TOKENS if device == "cpu" else None,
        kv_memory=None if device == "cpu" else GPU_KV_MEMORY,
    )


@pytest.mark.criterion("s6.table")
@pytest.mark.parametrize("context_len", CONTEXT_LENS)
@pytest.mark.parametrize("batch", BATCHES)
def test_decode_curve(
    measure: Measure,
    ceilings: Ceilings,
    llm: LLM,
    folder: Path,
    batch: int,
    context_len: int,
    num_threads: int,
) -> None:
    capacity = llm.engine.kv_stats().capacity
    if batch * context_len > capacity:
        pytest.skip(f"{batch} times {context_len} tokens, and the KV cache has room for {capacity}")
    model = llm.engine.model
    decode = SteadyDecode(llm.engine, batch, context_len)
    work = decode_work(model, batch, context_len, 1)

    def run(_: int) -> Metrics:
        seconds = decode.run()
        return {
            "tpot_ms": 1e3 * seconds,
            "tokens_per_sec": batch / seconds,
            "kv_bytes": batch * context_len * kv_bytes_per_token(model.decoder, model.dtype),
            **work.shares(seconds, ceilings),
        }

    try:
        measure(
            run,
            prepare=lambda _: decode.begin(),
            model_digest=digest_of(folder),
            workload={"num_threads": num_threads},
        )
    finally:
        decode.end()
