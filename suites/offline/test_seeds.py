"""The same seed samples the same text, whatever else is in the batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagegate import LLM, SamplingParams

SEEDED = SamplingParams(temperature=1.2, top_p=0.95, seed=1234, max_tokens=32)
OTHERS = ["Down the", "The Queen", "I am", "The Hatter opened his eyes", "Alice", "Why", "The"]


@pytest.fixture(scope="module")
def seeded_llm(model_path: Path, device: str, kv_layout: str) -> LLM:
    return LLM(
        model_path, device=device, kv_layout=kv_layout, kv_capacity_tokens=4096, num_threads=2,
        deterministic=True,
    )  # fmt: skip


def seeded_text(llm: LLM, others: int, position: int) -> str:
    prompts = [*OTHERS[:others]]
    params = [SamplingParams(temperature=0.9, max_tokens=8 * (i + 1)) for i in range(others)]
    prompts.insert(position, "Alice was")
    params.insert(position, SEEDED)
    return llm.generate(prompts, params)[position].outputs[0].text


def test_neighbours_do_not_change_a_sample(seeded_llm: LLM) -> None:
    alone = seeded_text(seeded_llm, 0, 0)
    for others, position in [(1, 0), (3, 2), (7, 7), (7, 0)]:
        assert seeded_text(seeded_llm, others, position) == alone


def test_other_seeds_sample_other_texts(seeded_llm: LLM) -> None:
    texts = {
        seeded_llm.generate("Alice was", SamplingParams(temperature=4, seed=seed, max_tokens=24))[0]
        .outputs[0]
        .text
        for seed in range(8)
    }
    assert len(texts) == 8


def test_requests_without_a_seed_follow_the_engine_seed(model_path: Path, device: str) -> None:
    params = SamplingParams(temperature=4, max_tokens=16)

    def texts(seed: int) -> list[str]:
        llm = LLM(model_path, device=device, seed=seed, kv_capacity_tokens=512)
        return [output.outputs[0].text for output in llm.generate(["Alice was"] * 3, params)]

    first = texts(5)
    assert len(set(first)) == 3
    assert texts(5) == first
    assert texts(6) != first


def test_bits_do_not_depend_on_the_company(model_path: Path, device: str, num_threads: int) -> None:
    """Log-probabilities are equal bit for bit in any layout, chunking, batch and thread count.

    The memory is fresh, so slots ascend with positions; see EngineConfig.deterministic.
    """
    params = SamplingParams(temperature=1.2, seed=3, max_tokens=24, logprobs=2)
    prompt = "Alice was beginning to get very tired of sitting by her sister on the bank"
    settings: list[dict[str, object]] = [
        {},
        {"kv_layout": "slot"},
        {"attention_backend": "csr"},
        {"max_num_batched_tokens": 5},
        {"num_threads": 1 if num_threads > 1 else 2},
        {"block_size": 4},
    ]
    seen = []
    for changes in settings:
        llm = LLM(
            model_path, device=device, deterministic=True, **{"kv_capacity_tokens": 2048, **changes}
        )
        alone = llm.generate(prompt, params)[0]
        crowded = llm.generate([*OTHERS, prompt], params)[-1]
        again = llm.generate(prompt, params)[0]  # behind a prefix hit
        seen += [output.outputs[0].logprobs for output in (alone, crowded, again)]
    assert all(logprobs == seen[0] for logprobs in seen)
