"""Models, prompts and what the engine makes of them, each computed once a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from suites.models.random_qwen2 import LARGE, PRESETS, write_random_qwen2
from suites.parity.prompts import random_prompts, text_prompts
from suites.parity.schedules import SCHEDULES

# The checkpoint under test, and random ones that cover what it does not.
MODELS = ("checkpoint", *(name for name in PRESETS if name not in LARGE))


@dataclass(frozen=True)
class Model:
    name: str
    path: Path
    prompts: list[list[int]]


@pytest.fixture(scope="session", params=MODELS)
def model(
    request: pytest.FixtureRequest, model_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Model:
    name = str(request.param)
    if name == "checkpoint":
        return Model(name, model_path, text_prompts(model_path))
    path = write_random_qwen2(tmp_path_factory.mktemp("models") / name, PRESETS[name])
    return Model(name, path, random_prompts(path))


# Model folder, prompts, layout, attention form, schedule.
Generate = Callable[[Path, list[list[int]], str, str, str], list[list[int]]]


@pytest.fixture(scope="session")
def generate(num_threads: int, device: str) -> Generate:
    """Greedy tokens of the engine in f32, one list a prompt."""

    @cache
    def run_once(
        path: Path,
        prompts: tuple[tuple[int, ...], ...],
        kv_layout: str,
        attention_backend: str,
        schedule: str,
    ) -> list[list[int]]:
        settings = {
            "device": device,
            "dtype": "f32",
            "kv_layout": kv_layout,
            "attention_backend": attention_backend,
            "kv_capacity_tokens": 4096,
            "num_threads": num_threads,
        }
        return SCHEDULES[schedule](path, list(map(list, prompts)), settings)

    def run(
        path: Path, prompts: list[list[int]], kv_layout: str, attention_backend: str, schedule: str
    ) -> list[list[int]]:
        if attention_backend == "flashinfer":
            pytest.skip("FlashInfer has no f32, and in 16 bits tokens need not be equal")
        return run_once(path, tuple(map(tuple, prompts)), kv_layout, attention_backend, schedule)

    return run
