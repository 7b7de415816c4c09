"""Prefix hits save work and change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagegate import LLM, SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=16)
SHARED = "Alice was beginning to get very tired of sitting by her sister on the bank, and of "


@pytest.fixture
def block_llm(model_path: Path, device: str, num_threads: int) -> LLM:
    return LLM(
        model_path, device=device, dtype="f32", kv_capacity_tokens=512, num_threads=num_threads
    )


@pytest.mark.criterion("s0.prefix")
def test_hits_are_counted_and_harmless(block_llm: LLM) -> None:
    prompts = [SHARED + "having", SHARED + "nothing", SHARED]
    cold = [block_llm.generate(prompt, GREEDY)[0].outputs[0].token_ids for prompt in prompts]
    warm = block_llm.generate(prompts, GREEDY)
    assert [output.outputs[0].token_ids for output in warm] == cold
    run = block_llm.last_run
    assert run is not None
    assert (run.prefix_hits, run.prefix_misses) == (3, 0)
    assert run.prefix_saved_tokens == sum(output.usage.cached_tokens for output in warm)
    for output in warm:
        # Whole blocks of 16, and the last token is always computed.
        assert output.usage.cached_tokens == (output.usage.prompt_tokens - 1) // 16 * 16


@pytest.mark.criterion("s0.prefix")
def test_a_cache_too_small_to_keep_anything_still_answers(model_path: Path, device: str) -> None:
    llm = LLM(model_path, device=device, dtype="f32", kv_capacity_tokens=96)
    params = SamplingParams(temperature=0, max_tokens=64, ignore_eos=True)
    for _ in range(2):
        for opening in ("Alice was", "Down the", "The Queen"):
            [output] = llm.generate(opening, params)
            assert len(output.outputs[0].token_ids) == 64
    assert llm.engine.kv_stats().evictions > 0


@pytest.mark.criterion("s0.prefix")
def test_without_the_cache_nothing_hits(model_path: Path, device: str) -> None:
    llm = LLM(model_path, device=device, enable_prefix_cache=False, kv_capacity_tokens=512)
    for _ in range(2):
        llm.generate(SHARED, GREEDY)
    assert llm.engine.kv_stats().prefix_hits == 0
