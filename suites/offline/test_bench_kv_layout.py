"""Benchmark: the KV layouts on the same prompts, with and without a warm prefix cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stagegate import LLM, SamplingParams
from stagegate.sampling import MAX_LOGPROBS
from stagegate_baselines.fingerprint import model_digest
from stagegate_harness.measure import Measure, Metrics
from suites.adapter.options import Workload
from suites.offline.same_answer import is_same_answer, near_tie

# No cache is warm under the slot layout, which has none.
CASES = ["slot-cold", "block-cold", "block-warm"]


def prompts_of_round(workload: Workload, vocab_size: int, index: int) -> list[list[int]]:
    """Random tokens, whose first half is common to the prompts of a round."""
    rng = np.random.default_rng([workload.seed, 0 if workload.repeat_prompts else index + 1])
    shared = rng.integers(0, vocab_size, workload.input_len // 2).tolist()
    return [
        shared + rng.integers(0, vocab_size, workload.input_len - len(shared)).tolist()
        for _ in range(workload.prompts)
    ]


@pytest.mark.benchmark(group="kv-layout")
@pytest.mark.criterion("s0.baseline", "s5.kv-layout-bench")
@pytest.mark.parametrize(("kv_layout", "cache"), [case.split("-") for case in CASES], ids=CASES)
def test_kv_layout(
    measure: Measure,
    workload: Workload,
    model_path: Path,
    kv_layout: str,
    cache: str,
    device: str,
    num_threads: int,
) -> None:
    length = workload.input_len + workload.output_len + 16

    def start(prompts: int, *, cached: bool) -> LLM:
        return LLM(
            model_path,
            device=device,
            kv_layout=kv_layout,
            num_threads=num_threads,
            kv_capacity_tokens=prompts * length,
            enable_prefix_cache=cached,
        )

    # With room for the rounds before this one, whose prefixes stay until they are in the way.
    llm = start(2 * workload.prompts, cached=True)
    vocab_size = llm.engine.model.decoder.vocab_size
    params = SamplingParams(temperature=0, max_tokens=workload.output_len, ignore_eos=True)
    first: dict[int, list[int]] = {}  # of each round, what the first prompt was answered

    def prepare(index: int) -> None:
        if cache == "warm":
            prompt = prompts_of_round(workload, vocab_size, index)[0]
            llm.generate([prompt[: workload.input_len // 2]], SamplingParams(max_tokens=1))

    def run(index: int) -> Metrics:
        outputs = llm.generate(prompts_of_round(workload, vocab_size, index), params)
        assert {len(output.outputs[0].token_ids) for output in outputs} == {workload.output_len}
        assert llm.last_run is not None
        first[index] = outputs[0].outputs[0].token_ids
        return llm.last_run.as_dict()

    samples = measure(run, prepare=prepare, model_digest=model_digest(model_path))

    assert len(samples["seconds"]) >= workload.rounds
    hits = [hit or 0 for hit in samples["prefix_hits"]]
    if cache == "warm" and workload.input_len >= 32:  # a shared half of a whole block or more
        assert min(hits) >= workload.prompts
    elif not workload.repeat_prompts:
        assert max(hits) == 0
    # Fast and wrong is not fast: each round's first prompt is answered the same when it is alone.
    alone_llm = start(1, cached=False)
    scored = replace(params, logprobs=MAX_LOGPROBS)
    tolerance = near_tie(llm.engine.config)
    for index, tokens in first.items():
        prompt = prompts_of_round(workload, vocab_size, index)[0]
        [alone] = alone_llm.generate([prompt], scored)
        assert is_same_answer(tokens, alone.outputs[0], tolerance), f"round {index} is wrong"
