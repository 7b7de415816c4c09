"""Engines of one process, each in a thread of its own, as a server has them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from stagegate import LLM, SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)
ENGINES = 2
# Every number of prompts is a shape that an engine meets for the first time, and takes memory for.
MOST_PROMPTS = 12


@pytest.mark.tiny_model  # about shapes, of which a large model takes minutes to meet as many
def test_engines_do_not_disturb_each_other(
    model_path: Path, device: str, kv_layout: str, num_threads: int
) -> None:
    def start() -> LLM:
        return LLM(
            model_path, device=device, kv_layout=kv_layout, dtype="f32", kv_capacity_tokens=2048,
            num_threads=num_threads, deterministic=True,
        )  # fmt: skip

    def serve(llm: LLM) -> list[list[int]]:
        together.wait()
        return [
            output.outputs[0].token_ids
            for count in range(1, MOST_PROMPTS + 1)
            for output in llm.generate([f"{'Alice was ' * count}{i}" for i in range(count)], GREEDY)
        ]

    together = Barrier(ENGINES)
    with ThreadPoolExecutor(ENGINES) as threads:
        found = list(threads.map(serve, [start() for _ in range(ENGINES)]))
    together = Barrier(1)
    alone = serve(start())
    assert found == [alone] * ENGINES
