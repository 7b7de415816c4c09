"""Benchmark: the host's part of a decode step, while the device would run the step before."""

from __future__ import annotations

import time
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from stagegate.config import EngineConfig
from stagegate.core.scheduler import Scheduler
from stagegate.core.sequence import Sequence
from stagegate.execution.step import ScheduledStep, StepOutput
from stagegate.execution.step_inputs import DecodeInput, StepInputs
from stagegate.kv.block_manager import BlockManager
from stagegate.kv.prefix_cache import PrefixCache
from stagegate.sampling import SamplingParams
from stagegate_baselines.kinds import Kind
from stagegate_baselines.records import Better, MetricClass
from stagegate_harness.measure import Measure

BLOCK_SIZE = 16
PROMPT_TOKENS = 1000
STEPS = 100  # a round
MAX_TOKENS = 20_000
VOCAB = 1000

pytestmark = pytest.mark.benchmark(group="host-step")
METRICS = MappingProxyType({"host_step_us": Kind("us", Better.LOWER, MetricClass.LATENCY_P50)})


class HostSteps:
    """A scheduler with its cache and inputs, for greedy sequences and no model."""

    def __init__(self, num_sequences: int) -> None:
        config = EngineConfig(
            model=Path(), max_num_seqs=num_sequences,
            max_num_batched_tokens=num_sequences * PROMPT_TOKENS,
        )  # fmt: skip
        cache = PrefixCache(BLOCK_SIZE)
        capacity = num_sequences * (PROMPT_TOKENS + MAX_TOKENS)
        kv = BlockManager(
            capacity, block_size=BLOCK_SIZE, attention_backend="native", prefix_cache=cache
        )
        self._scheduler = Scheduler(config, kv)
        self._inputs = StepInputs(kv, num_rows=num_sequences, has_tables=True)
        params = SamplingParams(temperature=0, ignore_eos=True, max_tokens=MAX_TOKENS)
        for seq_id in range(num_sequences):
            prompt = [(seq_id * 7919 + position) % VOCAB for position in range(PROMPT_TOKENS)]
            self._scheduler.add(
                Sequence(
                    seq_id, prompt, params, eos_token_ids=(1,), seed=seq_id, max_tokens=MAX_TOKENS
                )
            )
        self._in_flight, _ = self._next()

    def run(self) -> list[DecodeInput]:
        """Some decode steps; each is planned while the one before is in flight."""
        built: list[DecodeInput] = []
        for _ in range(STEPS):
            step, inputs = self._next()
            assert isinstance(inputs, DecodeInput)
            built.append(inputs)
            token_ids = np.full(self._in_flight.row_ptr[-1], 5, dtype=np.int32)
            output = StepOutput(self._in_flight.row_ptr, token_ids)
            self._scheduler.update(self._in_flight, output)
            self._in_flight = step
        return built

    def _next(self) -> tuple[ScheduledStep, object]:
        step = self._scheduler.schedule()
        assert step is not None
        return step, self._inputs.build(step)


@pytest.mark.parametrize("num_sequences", [8, 256])
def test_host_step(measure: Measure, num_sequences: int) -> None:
    host = HostSteps(num_sequences)
    built: list[DecodeInput] = []

    def run(_: int) -> dict[str, float | None]:
        started = time.perf_counter()
        built[:] = host.run()
        return {"host_step_us": 1e6 * (time.perf_counter() - started) / STEPS}

    measure(run, metrics=METRICS, workload={"num_sequences": num_sequences}, trace=False)
    # In a steady decode the rows stay, and the host sends new blocks alone.
    assert np.array_equal(built[0].rows, built[-1].rows)
    blocks = sum(0 if step.changes is None else len(step.changes.block_ids) for step in built)
    assert blocks <= num_sequences * (STEPS // BLOCK_SIZE + 1)
