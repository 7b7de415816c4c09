"""A decode that goes on as it did: the same sequences in every step, and nothing but decodes."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from stagegate import SamplingParams
from stagegate.core.llm_engine import LLMEngine
from stagegate.execution.executor import Executor, PendingStep
from stagegate.execution.step import ScheduledStep, StepOutput
from stagegate.kv.manager import KVTables
from stagegate_harness.trace_events import DeviceEvent

# Steps of a run: so few that the context stays what it is called.
STEPS = 32
# Steps in flight when a run ends have to have a token to make.
SPARE_STEPS = 8


class SteadyDecode:
    """Sequences that decode together, and begin again from the same prompts for each run.

    The prompts stay in the prefix cache, so that they are computed once.
    """

    def __init__(self, engine: LLMEngine, batch: int, context_len: int) -> None:
        """context_len: tokens that every sequence has when its last step has run."""
        vocab_size = engine.model.decoder.vocab_size
        prompt_len = context_len - STEPS - SPARE_STEPS
        self._engine = engine
        self._prompts = np.random.default_rng(0).integers(0, vocab_size, (batch, prompt_len))
        self._is_cached = False

    def begin(self) -> None:
        """Until every sequence has its first token, and the host is ahead of the device."""
        self.end()
        if not self._is_cached:
            self._add(max_tokens=1)
            self.finish()
            self._is_cached = True
        self._add(max_tokens=STEPS + SPARE_STEPS)
        left = set(self._engine.unfinished_requests)
        while left:
            left -= {request.request_id for request in self._engine.step()}
        self._engine.step()

    def run(self) -> float:
        """Seconds of a step, of some."""
        started = time.perf_counter()
        advanced = [len(self._engine.step()) for _ in range(STEPS)]
        seconds = (time.perf_counter() - started) / STEPS
        assert advanced == [len(self._prompts)] * STEPS
        return seconds

    def finish(self) -> None:
        """Until nothing is in flight."""
        while self._engine.unfinished_requests:
            self._engine.step()

    def end(self) -> None:
        for request_id in list(self._engine.unfinished_requests):
            self._engine.abort_request(request_id)

    def _add(self, *, max_tokens: int) -> None:
        params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
        for prompt in self._prompts.tolist():
            self._engine.add_request(prompt, params)


class TimedExecutor:
    """Another executor, and the seconds in which the host had nothing to do but wait for it."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.waited_s = 0.0

    def prepare(self, *, max_tokens: int, max_rows: int, max_positions: int) -> int:
        return self._executor.prepare(
            max_tokens=max_tokens, max_rows=max_rows, max_positions=max_positions
        )

    def allocate(self, tables: KVTables) -> None:
        self._executor.allocate(tables)

    @property
    def memory_bytes(self) -> dict[str, int]:
        return self._executor.memory_bytes

    @property
    def overlaps(self) -> bool:
        return self._executor.overlaps

    def submit(self, step: ScheduledStep) -> TimedStep:
        return TimedStep(self, self._executor.submit(step))


class TimedStep:
    def __init__(self, executor: TimedExecutor, pending: PendingStep) -> None:
        self._executor = executor
        self._pending = pending

    def wait(self) -> StepOutput:
        started = time.perf_counter()
        output = self._pending.wait()
        self._executor.waited_s += time.perf_counter() - started
        return output


def idle_share(events: Iterable[DeviceEvent], least_gap_us: float) -> float:
    """The part of the time from the first event to the end of the last one that lies in gaps.

    least_gap_us: a shorter gap is one between kernels that the device starts by itself.
    """
    times = sorted((event.start_ns, event.end_ns) for event in events)
    first, reached = times[0]
    idle = 0
    for start, end in times:
        if start - reached >= 1000 * least_gap_us:
            idle += start - reached
        reached = max(reached, end)
    return idle / (reached - first)
