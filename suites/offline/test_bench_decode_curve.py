"""Benchmark: what a decode step costs by context and batch, as far as the KV cache has room."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from stagegate import LLM, SamplingParams
from stagegate.kv.sizing import kv_bytes_per_token
from stagegate_baselines.fingerprint import model_digest
from stagegate_harness.ceilings import Ceilings
from stagegate_harness.measure import Measure, Metrics
from suites.offline.least_work import decode_work
from suites.offline.throughput_model import checkpoint_writer, preset_for

BATCHES = (1, 8, 64, 256)
CONTEXT_LENS = (256, 1024, 4096, 16384, 32768)
# Steps of a round: so few that the context stays what it is called.
STEPS = 32
# Steps in flight when a round ends have to have a token to make.
SPARE_STEPS = 8
# A CPU only shows that the curve can be measured. A GPU has other engines beside this one.
CPU_CAPACITY_TOKENS = 4096
GPU_KV_MEMORY = 0.8

pytestmark = pytest.mark.benchmark(group="decode-curve")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, device: str) -> Path:
    return checkpoint_writer(tmp_path_factory)(preset_for(device))


@pytest.fixture(scope="module")
def digest(folder: Path) -> str:
    return model_digest(folder)


@pytest.fixture(scope="module")
def llm(folder: Path, device: str, num_threads: int) -> LLM:
    return LLM(
        folder,
        device=device,
        num_threads=num_threads,
        kv_capacity_tokens=CPU_CAPACITY_TOKENS if device == "cpu" else None,
        kv_memory=None if device == "cpu" else GPU_KV_MEMORY,
    )


class SteadyDecode:
    """Sequences that decode together, and begin again from the same prompts for each round.

    The prompts stay in the prefix cache, so that only the first round computes them.
    """

    def __init__(self, llm: LLM, batch: int, context_len: int) -> None:
        vocab_size = llm.engine.model.decoder.vocab_size
        prompt_len = context_len - STEPS - SPARE_STEPS
        self._engine = llm.engine
        self._prompts = np.random.default_rng(0).integers(0, vocab_size, (batch, prompt_len))
        self._params = SamplingParams(
            temperature=0, max_tokens=STEPS + SPARE_STEPS, ignore_eos=True
        )

    def begin(self) -> None:
        """Until every sequence has its first tokens and the host is ahead of the device."""
        self.end()
        for prompt in self._prompts.tolist():
            self._engine.add_request(prompt, self._params)
        left = set(self._engine.unfinished_requests)
        while left:
            left -= {request.request_id for request in self._engine.step()}
        self._engine.step()

    def run(self) -> float:
        """Seconds of a step, of some."""
        started = time.perf_counter()
        advanced = [len(self._engine.step()) for _ in range(STEPS)]
        seconds = (time.perf_counter() - started) / STEPS
        assert advanced == [len(self._prompts)] * STEPS
        return seconds

    def end(self) -> None:
        for request_id in list(self._engine.unfinished_requests):
            self._engine.abort_request(request_id)


@pytest.mark.criterion("s6.table")
@pytest.mark.parametrize("context_len", CONTEXT_LENS)
@pytest.mark.parametrize("batch", BATCHES)
def test_decode_curve(
    measure: Measure,
    ceilings: Ceilings,
    llm: LLM,
    digest: str,
    batch: int,
    context_len: int,
    num_threads: int,
) -> None:
    capacity = llm.engine.kv_stats().capacity
    if batch * context_len > capacity:
        pytest.skip(f"{batch} times {context_len} tokens, and the KV cache has room for {capacity}")
    model = llm.engine.model
    decode = SteadyDecode(llm, batch, context_len)
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
            model_digest=digest,
            workload={"num_threads": num_threads},
        )
    finally:
        decode.end()
