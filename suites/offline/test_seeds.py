"""The same seed draws the same text, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import LLM, SamplingParams

SEEDED = SamplingParams(temperature=1.2, top_p=0.95, seed=1234, max_tokens=32)
OTHERS = ["Down the", "The Queen", "I am", "The Hatter opened his eyes", "Alice", "Why", "The"]


@pytest.fixture(scope="module")
def deterministic_llm(model_path: Path, layout: str) -> Iterator[LLM]:
    return LLM(
        model_path, layout=layout, deterministic=True, kv_capacity_tokens=4096, num_threads=2
    )


def seeded_text(llm: LLM, others: int, position: int) -> str:
    prompts = [*OTHERS[:others]]
    params = [SamplingParams(temperature=0.9, max_tokens=8 * (i + 1)) for i in range(others)]
    prompts.insert(position, "Alice was")
    params.insert(position, SEEDED)
    return llm.generate(prompts, params)[position].outputs[0].text


def test_neighbours_do_not_change_a_draw(deterministic_llm: LLM) -> None:
    alone = seeded_text(deterministic_llm, 0, 0)
    for others, position in [(1, 0), (3, 2), (7, 7), (7, 0)]:
        assert seeded_text(deterministic_llm, others, position) == alone


def test_other_seeds_draw_other_texts(deterministic_llm: LLM) -> None:
    texts = {
        deterministic_llm.generate(
            "Alice was", SamplingParams(temperature=4, seed=seed, max_tokens=24)
        )[0]
        .outputs[0]
        .text
        for seed in range(8)
    }
    assert len(texts) == 8


def test_requests_without_a_seed_follow_the_engine_seed(model_path: Path) -> None:
    params = SamplingParams(temperature=4, max_tokens=16)

    def texts(seed: int) -> list[str]:
        llm = LLM(model_path, seed=seed, kv_capacity_tokens=512)
        return [output.outputs[0].text for output in llm.generate(["Alice was"] * 3, params)]

    first = texts(5)
    assert len(set(first)) == 3
    assert texts(5) == first
    assert texts(6) != first
