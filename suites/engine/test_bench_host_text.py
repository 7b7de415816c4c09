"""Benchmark: all that the host does in a decode step, text included, while no model runs."""

from __future__ import annotations

import time
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from stagegate import EngineConfig, SamplingParams, build_engine
from stagegate.core.llm_engine import LLMEngine
from stagegate.core.request import Request
from stagegate.execution.step import ScheduledStep, StepOutput
from stagegate.execution.step_inputs import StepInputs
from stagegate.kv.manager import KVTables
from stagegate.text.tokenizer import Tokenizer
from stagegate_baselines.kinds import Kind
from stagegate_baselines.records import Better, MetricClass
from stagegate_harness.measure import Measure

PROMPT_TOKENS = 100
STEPS = 50  # a round
MAX_TOKENS = 100

pytestmark = [pytest.mark.benchmark(group="host-step"), pytest.mark.tiny_model]
METRICS = MappingProxyType({"host_step_us": Kind("us", Better.LOWER, MetricClass.LATENCY_P50)})


class KnownTokens:
    """An executor that builds what a step sends, and knows the tokens that it will sample."""

    overlaps = True

    def __init__(self, token_ids: list[int], num_rows: int) -> None:
        self._token_ids = np.array(token_ids, dtype=np.int32)
        self._num_rows = num_rows
        self._num_steps = 0
        self._inputs: StepInputs | None = None

    def prepare(self, *, max_tokens: int, max_rows: int, max_positions: int) -> int:
        return 2**40

    def allocate(self, tables: KVTables) -> None:
        self._inputs = StepInputs(tables, num_rows=self._num_rows, has_tables=True)

    @property
    def memory_bytes(self) -> dict[str, int]:
        return {}

    def submit(self, step: ScheduledStep) -> KnownStep:
        assert self._inputs is not None
        self._inputs.build(step)
        self._num_steps += 1
        token = self._token_ids[self._num_steps % len(self._token_ids)]
        return KnownStep(StepOutput(step.row_ptr, np.full(step.row_ptr[-1], token)))


class KnownStep:
    def __init__(self, output: StepOutput) -> None:
        self._output = output

    def wait(self) -> StepOutput:
        return self._output


def begin(engine: LLMEngine, num_requests: int, read: str) -> list[Request]:
    """Requests that decode."""
    params = SamplingParams(
        temperature=0, ignore_eos=True, max_tokens=MAX_TOKENS,
        stop=("Mock Turtle",) if read == "for-a-stop-string" else (),
    )  # fmt: skip
    requests: list[Request] = []
    for number in range(num_requests):
        prompt = [(number * 7919 + position) % 300 for position in range(PROMPT_TOKENS)]
        request = engine.make_request(prompt, params)
        if read == "as-it-comes":
            request.follow()
        engine.submit(request)
        requests.append(request)
    for _ in range(3):
        engine.step()
    return requests


@pytest.mark.parametrize("read", ["at-the-end", "as-it-comes", "for-a-stop-string"])
@pytest.mark.parametrize("num_requests", [8, 256])
def test_host_text(measure: Measure, model_path: Path, num_requests: int, read: str) -> None:
    token_ids = Tokenizer.load(model_path).encode("It was the White Rabbit, trotting slowly back")
    config = EngineConfig(
        model_path, max_num_seqs=num_requests,
        max_num_batched_tokens=num_requests * PROMPT_TOKENS,
        kv_capacity_tokens=num_requests * (PROMPT_TOKENS + MAX_TOKENS),
    )  # fmt: skip
    engine = build_engine(config, executor=KnownTokens(token_ids, num_requests))
    texts: set[str] = set()

    def run(_: int) -> dict[str, float | None]:
        requests = begin(engine, num_requests, read)
        started = time.perf_counter()
        for _ in range(STEPS):
            for request in engine.step():
                if read == "as-it-comes":
                    request.take_delta()
        seconds = time.perf_counter() - started
        texts.update(request.output().outputs[0].text for request in requests)
        for request in requests:
            engine.abort_request(request.request_id)
        engine.step()  # that was in flight
        return {"host_step_us": 1e6 * seconds / STEPS}

    measure(run, metrics=METRICS, workload={"num_requests": num_requests}, trace=False)
    assert all("White Rabbit" in text for text in texts)
