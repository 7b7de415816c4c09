"""What is learnt of the time of steps, and prompts that get what a running text leaves of it."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate.config import EngineConfig
from stagegate.core.scheduler import Scheduler
from stagegate.core.sequence import Sequence
from stagegate.core.step_pipeline import StepPipeline
from stagegate.core.step_time import PromptBudget, StepCost, StepShape, StepTimes, shape_of
from stagegate.execution.step import ScheduledStep, StepOutput
from stagegate.kv.block_manager import BlockManager
from stagegate.kv.manager import KVTables
from stagegate.kv.slot_manager import SlotManager
from stagegate.sampling import SamplingParams

# As of a model of 1.5 billion weights on a fast GPU.
COST = StepCost(step=1e-3, token=5e-6, context=7e-9, pair=4e-10)
LEAST = 16
MAX_TOKENS = 2048


def decode(rng: random.Random) -> StepShape:
    count = rng.randrange(1, 200)
    return StepShape(count, count * rng.randrange(100, 2000))


def mixed(rng: random.Random) -> StepShape:
    tokens, context, *_ = decode(rng)
    count, start = rng.randrange(16, 2000), rng.randrange(4000)
    return StepShape(tokens + count, context, count, count * start + count * (count + 1) / 2)


def observed(
    rng: random.Random, *, stalls: float = 0.0, factor: float = 30.0, noise: float = 0.0
) -> StepTimes:
    times = StepTimes()
    for _ in range(64):
        for shape in (decode(rng), mixed(rng)):
            seconds = COST.seconds(shape) * (1 + noise * rng.uniform(-1, 1))
            times.observe(shape, seconds * (factor if rng.random() < stalls else 1))
    return times


@pytest.mark.parametrize(
    ("stalls", "factor", "noise", "tolerance"),
    [(0, 1, 0, 1e-3), (0.1, 30, 0.05, 0.05), (0.1, 3, 0.05, 0.1)],
)
def test_times_are_learnt_whatever_stalls_come_between(
    stalls: float, factor: float, noise: float, tolerance: float
) -> None:
    rng = random.Random(1)
    cost = observed(rng, stalls=stalls, factor=factor, noise=noise).cost()
    assert cost is not None
    for _ in range(50):
        for shape in (decode(rng), mixed(rng)):
            assert cost.seconds(shape) == pytest.approx(COST.seconds(shape), rel=tolerance)


def test_what_was_learnt_is_forgotten_when_it_is_no_longer_so() -> None:
    times, rng = observed(random.Random(2)), random.Random(3)
    for _ in range(64):
        for shape in (decode(rng), mixed(rng)):
            times.observe(shape, 3 * COST.seconds(shape))
    cost = times.cost()
    assert cost is not None
    shape = mixed(rng)
    assert cost.seconds(shape) == pytest.approx(3 * COST.seconds(shape), rel=1e-3)


def test_steps_that_are_all_alike_are_predicted_too() -> None:
    """They do not say which part of a step costs what."""
    times = StepTimes()
    alone, shared = StepShape(8, 800), StepShape(108, 800, 100, 5050)
    for _ in range(10):
        times.observe(alone, 1e-3)
        times.observe(shared, 3e-3)
    cost = times.cost()
    assert cost is not None
    assert min(cost) >= 0
    assert cost.seconds(alone) == pytest.approx(1e-3, rel=1e-3)
    assert cost.seconds(shared) == pytest.approx(3e-3, rel=1e-3)


def test_nothing_is_known_of_prompts_by_decodes_alone() -> None:
    times = StepTimes()
    for _ in range(100):
        times.observe(StepShape(8, 800), 1e-3)
    assert times.cost() is None
    times.observe(StepShape(9, 0, 1, 1), 0.0)  # by a clock that stood still
    assert times.most_prompt_tokens == 0


prices = st.just(0.0) | st.floats(1e-12, 1e-3)


@given(
    cost=st.builds(StepCost, prices, prices, prices, prices),
    start=st.integers(0, 100_000),
    seconds=st.floats(-1, 1),
)
def test_as_many_tokens_as_fit(cost: StepCost, start: int, seconds: float) -> None:
    count = cost.prompt_tokens(start, seconds)
    if seconds <= 0:
        assert count == 0
    elif count < 2**31:
        assert cost.prompt_seconds(start, count) <= seconds * (1 + 1e-6)
        assert cost.prompt_seconds(start, count + 1) >= seconds * (1 - 1e-6)
    else:
        assert cost.prompt_seconds(start, count) <= seconds * (1 + 1e-6)


def test_what_is_not_known_is_found_out_in_small_steps() -> None:
    times = StepTimes()
    sizes = []
    for _ in range(12):
        for _ in range(4):
            times.observe(StepShape(1, 10), COST.seconds(StepShape(1, 10)))
        budget = PromptBudget(times, 1e-2, StepShape(1, 10))
        count = budget.most(0)
        sizes.append(count)
        shape = StepShape(1 + count, 10, count, count * (count + 1) / 2)
        times.observe(shape, COST.seconds(shape))
    assert sizes[:4] == [LEAST] * 4
    assert all(after <= 2 * before for before, after in pairwise(sizes))
    shape = StepShape(1 + sizes[-1], 10, sizes[-1], sizes[-1] ** 2 / 2)
    assert COST.seconds(shape) == pytest.approx(1e-2, rel=0.05)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TimedExecutor:
    """Steps take the time that COST says; with `overlaps` one begins when the one before ends."""

    def __init__(self, clock: Clock, *, overlaps: bool, stalls: float) -> None:
        self.overlaps = overlaps
        self.steps: list[tuple[StepShape, float]] = []
        self._clock = clock
        self._free_at = 0.0
        self._rng = random.Random(4)
        self._stalls = stalls

    def prepare(self, *, max_tokens: int, max_rows: int, max_positions: int) -> int:
        return 2**40

    def allocate(self, tables: KVTables) -> None:
        pass

    @property
    def memory_bytes(self) -> dict[str, int]:
        return {}

    def submit(self, step: ScheduledStep) -> TimedStep:
        shape = shape_of(step)
        seconds = COST.seconds(shape) * self._rng.uniform(0.97, 1.03)
        self.steps.append((shape, seconds))
        if self._rng.random() < self._stalls:
            seconds += 0.3
        self._free_at = max(self._free_at, self._clock.now) + seconds
        return TimedStep(step, self._clock, self._free_at)


class TimedStep:
    def __init__(self, step: ScheduledStep, clock: Clock, ends_at: float) -> None:
        self._step, self._clock, self._ends_at = step, clock, ends_at

    def wait(self) -> StepOutput:
        self._clock.now = max(self._clock.now, self._ends_at)
        rows = int(self._step.row_ptr[-1])
        return StepOutput(self._step.row_ptr, np.full(rows, 3, np.int32))


class Traffic:
    """Texts that decode, and prompts of a few thousand tokens that come again and again."""

    def __init__(
        self, max_tpot_ms: float | None, *, kv_layout: str = "block", overlaps: bool = True,
        stalls: float = 0.0,
    ) -> None:  # fmt: skip
        config = EngineConfig(
            Path(), max_num_seqs=64, max_num_batched_tokens=MAX_TOKENS, max_tpot_ms=max_tpot_ms
        )
        capacity = 400_000
        kv = SlotManager(capacity) if kv_layout == "slot" else BlockManager(capacity, block_size=16)
        self.scheduler = Scheduler(config, kv)
        self.clock = Clock()
        self.executor = TimedExecutor(self.clock, overlaps=overlaps, stalls=stalls)
        self.pipeline = StepPipeline(self.scheduler, self.executor, clock=self.clock)
        self.sequences: list[Sequence] = []

    def add(self, prompt: int, max_tokens: int) -> Sequence:
        params = SamplingParams(max_tokens=max_tokens, ignore_eos=True)
        seq_id = len(self.sequences)
        added = Sequence(
            seq_id, [seq_id % 1000] * prompt, params, eos_token_ids=(), seed=0,
            max_tokens=max_tokens,
        )  # fmt: skip
        self.scheduler.add(added)
        self.sequences.append(added)
        return added

    def run(self, steps: int) -> list[tuple[StepShape, float]]:
        """What was submitted meanwhile, with the time that it takes when nothing stalls."""
        rng, before = random.Random(5), len(self.executor.steps)
        for _ in range(steps):
            if self.scheduler.num_waiting < 2:
                self.add(rng.randrange(100, 6000), rng.randrange(5, 200))
            progress = self.pipeline.advance()
            assert not progress.failures
        return self.executor.steps[before:]


@pytest.mark.parametrize("kv_layout", ["block", "slot"])
@pytest.mark.parametrize("overlaps", [False, True])
@pytest.mark.parametrize(("stalls", "budget_ms"), [(0.0, 6.0), (0.05, 6.0), (0.0, 3.0)])
def test_a_step_with_decodes_keeps_its_time(
    kv_layout: str, overlaps: bool, stalls: float, budget_ms: float
) -> None:
    traffic = Traffic(budget_ms, kv_layout=kv_layout, overlaps=overlaps, stalls=stalls)
    for _ in range(20):
        traffic.add(50, 100_000)
    traffic.run(100)  # it learns
    steps = traffic.run(400)
    shared = [(shape, seconds) for shape, seconds in steps if shape.prompt_tokens]
    assert all(shape.tokens > shape.prompt_tokens for shape, _ in shared)  # all with decodes
    assert len(shared) > 300
    assert max(seconds for _, seconds in shared) < 1.1e-3 * budget_ms
    # Prompts get what there is: the time is used, and they come to their ends.
    assert float(np.median([seconds for _, seconds in shared])) > 0.85e-3 * budget_ms
    assert sum(sequence.is_finished for sequence in traffic.sequences) > 5


def test_prompts_go_on_where_decodes_alone_take_longer() -> None:
    traffic = Traffic(0.5)
    traffic.add(50, 100_000)
    for _ in range(3):
        traffic.pipeline.advance()
    late, before = traffic.add(300, 1), len(traffic.executor.steps)
    while not late.is_finished:
        traffic.pipeline.advance()
    chunks = [shape.prompt_tokens for shape, _ in traffic.executor.steps[before:]]
    assert chunks[: 300 // LEAST + 1] == [LEAST] * (300 // LEAST) + [300 % LEAST]


def test_a_prompt_without_company_is_not_held_back() -> None:
    traffic = Traffic(0.5)
    traffic.add(3 * MAX_TOKENS, 1)
    for _ in range(4):
        traffic.pipeline.advance()
    assert [shape.tokens for shape, _ in traffic.executor.steps] == [MAX_TOKENS] * 3


def test_without_the_option_nothing_is_learnt_or_held_back() -> None:
    traffic = Traffic(None)
    traffic.add(50, 1000)
    traffic.run(100)
    assert traffic.scheduler._step_times.most_prompt_tokens == 0
    full = [shape for shape, _ in traffic.executor.steps if shape.tokens == MAX_TOKENS]
    assert len(full) > 20
    assert any(shape.tokens > shape.prompt_tokens for shape in full)


@pytest.mark.parametrize("overlaps", [False, True])
def test_a_step_is_timed_from_the_end_of_the_one_before(overlaps: bool) -> None:
    """Or from when it was planned, when nothing ran then; what the host does later is not its."""
    traffic = Traffic(100.0, overlaps=overlaps)
    noted: list[float] = []
    note_time = traffic.scheduler.note_time

    def noting(step: ScheduledStep, seconds: float) -> None:
        noted.append(seconds)
        note_time(step, seconds)

    traffic.scheduler.note_time = noting  # type: ignore[method-assign]
    traffic.add(50, 5)
    while traffic.scheduler.has_work:
        traffic.pipeline.advance()
    traffic.clock.now += 5.0
    traffic.add(50, 5)
    while traffic.scheduler.has_work:
        traffic.pipeline.advance()
    assert noted == pytest.approx([seconds for _, seconds in traffic.executor.steps])
