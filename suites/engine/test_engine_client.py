"""What an engine gives and takes means the same in another process."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest

from stagegate import AsyncLLM, EngineConfig, SamplingParams, build_engine
from stagegate.errors import CapacityError, DeviceLostError, InvalidRequestError, StagegateError
from stagegate.outputs import RequestDelta
from stagegate.serving.client import EngineClient
from stagegate.structured.grammar import Grammar


def through_a_pipe(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def deltas_of(client: EngineClient, prompt: str, params: SamplingParams) -> list[RequestDelta]:
    async def collect() -> list[RequestDelta]:
        return [delta async for delta in client.generate(prompt, params)]

    return asyncio.run(collect())


@pytest.fixture
def client(model_path: Path, device: str, num_threads: int) -> EngineClient:
    config = EngineConfig(
        model=model_path, device=device, kv_capacity_tokens=512, num_threads=num_threads
    )
    client = AsyncLLM(build_engine(config))
    client.start()
    return client


def test_deltas_statistics_and_histograms_cross_a_process(client: EngineClient) -> None:
    params = SamplingParams(n=2, seed=3, max_tokens=6, logprobs=2, prompt_logprobs=1)
    deltas = deltas_of(client, "Alice was", params)
    assert through_a_pipe(deltas) == deltas
    assert through_a_pipe(client.stats()) == client.stats()
    assert through_a_pipe(client.histograms()) == client.histograms()
    client.close()


def test_times_are_durations_since_the_arrival(client: EngineClient) -> None:
    *before, last = deltas_of(client, "Alice was", SamplingParams(max_tokens=4))
    assert all(delta.timings is None for delta in before)
    timings = last.timings
    assert timings is not None
    assert timings.scheduled_s is not None
    assert timings.first_token_s is not None
    assert timings.finished_s is not None
    assert 0 <= timings.scheduled_s <= timings.first_token_s <= timings.finished_s < 600
    client.close()


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(temperature=0.5, stop=["a", "b"], logit_bias={3: 1.5}, seed=7, n=3),
        SamplingParams(grammar=Grammar.json_schema({"type": "object"})),
        SamplingParams(grammar=Grammar.regex("[0-9]+").after_reasoning(begun=True)),
    ],
)
def test_parameters_cross_a_process(params: SamplingParams) -> None:
    assert through_a_pipe(params) == params


@pytest.mark.parametrize(
    "error",
    [
        StagegateError("a step failed"),
        InvalidRequestError("top_p is 0", parameter="top_p"),
        CapacityError("too long", parameter="prompt"),
        DeviceLostError("gone"),
    ],
)
def test_errors_cross_a_process(error: StagegateError) -> None:
    copy = through_a_pipe(error)
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))
