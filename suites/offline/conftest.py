"""One engine per layout for the offline tests, which do not test its start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stagegate import LLM


@pytest.fixture(scope="module")
def llm(model_path: Path, device: str, layout: str, num_threads: int) -> LLM:
    """An engine in f32; every test must leave it without requests and without used memory."""
    return LLM(
        model_path,
        device=device,
        dtype="f32",
        layout=layout,
        kv_capacity_tokens=2048,
        num_threads=num_threads,
    )


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "llm" in request.fixturenames:
        llm: LLM = request.getfixturevalue("llm")
        assert not llm.engine.unfinished_requests
        assert llm.engine.kv_stats().used == 0
