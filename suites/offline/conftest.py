"""One engine per layout for the offline tests, which do not test its start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from stagegate import LLM
from suites.models.random_qwen2 import write_random_qwen2
from suites.offline.throughput_model import DIMENSIONS


@pytest.fixture(scope="module")
def llm(model_path: Path, device: str, kv_layout: str, num_threads: int) -> LLM:
    """An engine in f32; every test must leave it without requests and without used memory."""
    return LLM(
        model_path,
        device=device,
        dtype="f32",
        kv_layout=kv_layout,
        kv_capacity_tokens=2048,
        num_threads=num_threads,
    )


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a checkpoint with random weights, which is written when it is first asked for.

    It takes a name of throughput_model.DIMENSIONS.
    """

    @cache
    def folder(preset: str) -> Path:
        path = tmp_path_factory.mktemp("models") / preset
        return write_random_qwen2(path, DIMENSIONS[preset])

    return folder


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "llm" in request.fixturenames:
        llm: LLM = request.getfixturevalue("llm")
        assert not llm.engine.unfinished_requests
        assert llm.engine.kv_stats().used == 0
