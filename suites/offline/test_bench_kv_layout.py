"""Benchmark: the KV layouts on the same prompts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from baselines.fingerprint import model_digest
from engine import LLM, SamplingParams
from suites.harness.measure import Measure, Metrics
from suites.harness.options import Workload


def prompts_of_round(workload: Workload, vocab_size: int, index: int) -> list[list[int]]:
    """Random tokens that are new in every round; the first half is common to a round's prompts."""
    rng = np.random.default_rng([workload.seed, index + 1])
    shared = rng.integers(0, vocab_size, workload.input_len // 2).tolist()
    return [
        shared + rng.integers(0, vocab_size, workload.input_len - len(shared)).tolist()
        for _ in range(workload.prompts)
    ]


@pytest.mark.benchmark(group="kv-layout")
@pytest.mark.criterion("s0.baseline")
def test_kv_layout(
    measure: Measure,
    workload: Workload,
    model_path: Path,
    layout: str,
    device: str,
    num_threads: int,
) -> None:
    length = workload.input_len + workload.output_len
    llm = LLM(
        model_path,
        device=device,
        layout=layout,
        num_threads=num_threads,
        kv_capacity_tokens=workload.prompts * (length + 16),
    )
    params = SamplingParams(temperature=0, max_tokens=workload.output_len, ignore_eos=True)
    vocab_size = llm.engine.model.vocab_size

    def run(index: int) -> Metrics:
        outputs = llm.generate(prompts_of_round(workload, vocab_size, index), params)
        assert {len(output.outputs[0].token_ids) for output in outputs} == {workload.output_len}
        assert llm.last_run is not None
        return llm.last_run.as_dict()

    samples = measure(run, model_digest=model_digest(model_path))
    assert len(samples["seconds"]) == workload.rounds
    hits = samples["prefix_hits"]
    if layout == "slot":
        assert set(hits) == {0}
