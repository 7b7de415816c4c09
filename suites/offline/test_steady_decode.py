"""A steady decode on a GPU: no memory, no wait, no idle device, little work for the host."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stagegate import EngineConfig
from stagegate._C import Ledger
from stagegate.build import build_engine
from stagegate.core.llm_engine import LLMEngine
from stagegate.execution.worker import Worker
from stagegate.models.registry import load_model_config
from stagegate_harness.kernel_trace import kernel_trace
from stagegate_harness.trace_events import Kernel
from suites.engine.cuda_calls import ALLOCATION, LAUNCH, WAITING, names_of
from suites.offline.steady_decode import STEPS, SteadyDecode, TimedExecutor, idle_share
from suites.offline.throughput_model import preset_for

CONTEXT_LEN = 1024
MOST_SEQUENCES = 256
# Kernels of a graph follow each other within a microsecond or two; a longer gap waits for the host.
LEAST_GAP_US = 4.0
MOST_IDLE = 0.03
MOST_HOST_MS = 0.5


@pytest.fixture(scope="module")
def engine(random_checkpoint: Callable[[str], Path], device: str, num_threads: int) -> LLMEngine:
    folder = random_checkpoint(preset_for(device))
    config = EngineConfig(
        folder,
        device=device,
        num_threads=num_threads,
        kv_capacity_tokens=MOST_SEQUENCES * CONTEXT_LEN if device == "cuda" else 4096,
    )
    model = load_model_config(folder)
    return build_engine(config, executor=TimedExecutor(Worker(config, model, model.dtype)))


def host_ms(engine: LLMEngine, batch: int, context_len: int) -> float:
    """Milliseconds of a step in which the host did not wait for the device."""
    assert isinstance(engine.executor, TimedExecutor)
    decode = SteadyDecode(engine, batch, context_len)
    found = []
    for _ in range(3):
        decode.begin()
        waited, started = engine.executor.waited_s, time.perf_counter()
        decode.run()
        seconds = time.perf_counter() - started
        found.append(1e3 * (seconds - (engine.executor.waited_s - waited)) / STEPS)
    decode.end()
    return min(found)


def test_the_host_part_of_a_step_is_measured(engine: LLMEngine) -> None:
    """More than nothing, and less than the whole step."""
    batch, context_len = 4, 64
    decode = SteadyDecode(engine, batch, context_len)
    decode.begin()
    whole_ms = 1e3 * decode.run()
    decode.end()
    assert 0 < host_ms(engine, batch, context_len) < 10 * whole_ms
    assert engine.kv_stats().used == 0


@pytest.mark.requires_gpu
@pytest.mark.criterion("s6.steady")
def test_the_host_is_quick(engine: LLMEngine) -> None:
    assert host_ms(engine, MOST_SEQUENCES, CONTEXT_LEN) < MOST_HOST_MS


@pytest.mark.requires_gpu
@pytest.mark.requires_cupti
@pytest.mark.criterion("s6.steady")
@pytest.mark.parametrize("batch", [1, 8, 64, MOST_SEQUENCES])
def test_steps_take_no_memory_and_wait_for_their_results_alone(
    engine: LLMEngine, batch: int
) -> None:
    decode = SteadyDecode(engine, batch, CONTEXT_LEN)
    decode.begin()
    decode.run()  # until all memory is taken that a run needs
    decode.begin()
    with Ledger() as ledger, kernel_trace(calls=True) as trace:
        decode.run()
        decode.finish()
    assert len(names_of(trace, LAUNCH)) >= STEPS  # calls were seen at all
    assert names_of(trace, ALLOCATION) == []
    assert names_of(trace, WAITING, whole=True) == []
    assert {where.partition(":")[0] for _, where in ledger.dispatches} == {"cuda"}
    named = {name for name, _ in ledger.copies}
    assert named <= {"step operands", "step results", "fault"}


@pytest.mark.requires_gpu
@pytest.mark.requires_cupti
@pytest.mark.criterion("s6.steady")
@pytest.mark.parametrize("batch", [8, 64, MOST_SEQUENCES])
def test_the_device_never_waits_for_the_host(engine: LLMEngine, batch: int) -> None:
    decode = SteadyDecode(engine, batch, CONTEXT_LEN)
    decode.begin()
    with kernel_trace() as trace:
        decode.run()
        decode.finish()
    assert idle_share(trace.device_events, LEAST_GAP_US) < MOST_IDLE


def kernel(start_us: float, end_us: float) -> Kernel:
    return Kernel("k", int(1000 * start_us), int(1000 * end_us), 0, 7, (1, 1, 1), (1, 1, 1))


def test_only_long_gaps_are_idle() -> None:
    events = [kernel(0, 10), kernel(12, 20), kernel(15, 30), kernel(40, 50), kernel(41, 45)]
    assert idle_share(events, 4.0) == pytest.approx(10 / 50)
    assert idle_share(reversed(events), 1.0) == pytest.approx(12 / 50)
    assert idle_share(events, 11.0) == 0
