"""Whatever happens to the schedule, every sequence gets the tokens it would get alone."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from attention_rows import visible_slots
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from engine.config import EngineConfig
from engine.errors import CapacityError
from engine.kv.block_manager import BlockManager
from engine.kv.manager import KVManager
from engine.kv.prefix_cache import PrefixCache
from engine.kv.slot_manager import SlotManager
from engine.sampling import SamplingParams
from engine.scheduler import ScheduledStep, Scheduler
from engine.sequence import Sequence, SequenceStatus
from engine.step import StepInput
from engine.step_builder import build_step_input

STATEFUL = settings(max_examples=60, stateful_step_count=40, deadline=None)
BLOCK_SIZE = 2
VOCAB = 23
EOS = 5
STOP = 7
GARBAGE = VOCAB
LAYOUTS = ("block", "csr", "slot")


def next_token(prefix: list[int]) -> int:
    return zlib.crc32(bytes(prefix)) % VOCAB


def generate_alone(sequence: Sequence, capacity: int) -> tuple[list[int], SequenceStatus]:
    """Output of a sequence without scheduler or cache; `sequence` gives prompt and limits only."""
    params = sequence.params
    tokens = sequence.token_ids[: sequence.num_prompt_tokens]
    output: list[int] = []
    while True:
        token = next_token(tokens + output)
        output.append(token)
        ends = token == EOS and not params.ignore_eos
        if (ends or token in params.stop_token_ids) and len(output) > params.min_tokens:
            return output, SequenceStatus.FINISHED_STOPPED
        if len(output) == sequence.max_tokens or len(tokens) + len(output) > capacity:
            return output, SequenceStatus.FINISHED_LENGTH


class PrefixModel:
    """Its next token depends on every token before, as read from the cache through the metadata.

    GARBAGE is what it draws where the cache does not hold these tokens.
    """

    def __init__(self, num_slots: int) -> None:
        self.tokens = np.full(num_slots, -1)
        self.positions = np.full(num_slots, -1)
        self.drawn = np.empty(0, dtype=np.int32)  # by the step before

    def execute(self, step: StepInput) -> list[int]:
        input_ids = step.input_ids.copy()
        if step.drawn_rows.size:
            pending = step.drawn_rows >= 0
            assert (input_ids[pending] == 0).all()
            input_ids[pending] = self.drawn[step.drawn_rows[pending]]
        self.tokens[step.slot_mapping] = input_ids
        self.positions[step.slot_mapping] = step.positions
        starts = step.context_lens - np.diff(step.cu_seqlens_q)
        rows = visible_slots(step.attention, starts.tolist(), step.context_lens.tolist())
        drawn: list[int] = []
        for position, slots in zip(step.positions, rows, strict=True):
            in_order = sorted(slots, key=lambda slot: self.positions[slot])
            prefix = self.tokens[in_order].tolist()
            whole = self.positions[in_order].tolist() == list(range(position + 1))
            drawn.append(next_token(prefix) if whole and GARBAGE not in prefix else GARBAGE)
        self.drawn = np.array([drawn[index] for index in step.logits_indices], dtype=np.int32)
        return self.drawn.tolist()

    def fail(self, step: StepInput) -> None:
        """Die half way, with garbage where the step was to write."""
        self.tokens[step.slot_mapping] = GARBAGE
        self.positions[step.slot_mapping] = 10**6
        self.drawn = np.full(len(step.logits_indices), GARBAGE, dtype=np.int32)


def make_kv(layout: str, capacity: int) -> KVManager:
    if layout == "slot":
        return SlotManager(capacity)
    return BlockManager(
        capacity,
        block_size=BLOCK_SIZE,
        backend="csr" if layout == "csr" else "native",
        prefix_cache=PrefixCache(BLOCK_SIZE),
    )


class Bench:
    """A scheduler with its cache and model."""

    def __init__(
        self, layout: str = "block", *, capacity: int = 64, budget: int = 16, seqs: int = 8
    ) -> None:
        config = EngineConfig(model=Path("model"), max_num_batched_tokens=budget, max_num_seqs=seqs)
        self.budget = budget
        self.max_num_seqs = config.max_num_seqs
        self.kv = make_kv(layout, capacity)
        self.capacity = self.kv.capacity_tokens
        self.model = PrefixModel(self.kv.num_slots)
        self.max_rows = config.max_logits_rows
        self.scheduler = Scheduler(config, self.kv)
        # What the logits of each scored position say comes next, by sequence.
        self.scores: dict[int, list[int]] = {}

    def add(
        self, seq_id: int, prompt: list[int], *, max_tokens: int = 4, priority: int = 0,
        params: SamplingParams | None = None, scores_prompt: bool = False,
    ) -> Sequence:  # fmt: skip
        params = params or SamplingParams(max_tokens=None, ignore_eos=True)
        sequence = Sequence(
            seq_id,
            prompt,
            params,
            eos_token_ids=(EOS,),
            seed=0,
            priority=priority,
            max_tokens=max_tokens,
            scores_prompt=scores_prompt,
        )
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> ScheduledStep:
        step = self.schedule()
        self.update(step, self.execute(step))
        return step

    def schedule(self) -> ScheduledStep:
        step = self.scheduler.schedule()
        assert step is not None
        return step

    def execute(self, step: ScheduledStep) -> list[int]:
        step_input = build_step_input(step, self.kv)
        assert len(step_input.logits_indices) <= self.max_rows
        return self.model.execute(step_input)

    def update(self, step: ScheduledStep, tokens: list[int]) -> list[Sequence]:
        drawn = iter(tokens)
        for item in step.sequences:
            if item.samples:
                assert next(drawn) != GARBAGE or item.sequence.is_finished
        scored = iter(tokens[step.num_samples :])
        for item in step.sequences:
            scores = self.scores.setdefault(item.sequence.seq_id, [])
            found = [next(scored) for _ in item.scored]
            if not item.sequence.is_finished:
                assert not found or item.scored.start == len(scores)
                scores.extend(found)
        assert next(scored, None) is None
        return self.scheduler.update(step, tokens[: step.num_samples])

    def drain(self, limit: int = 500) -> int:
        for count in range(limit):
            if not self.scheduler.has_work:
                assert self.kv.stats().used == 0
                return count
            self.step()
        pytest.fail(f"still at work after {limit} steps")

    def check_alone(self, sequence: Sequence) -> None:
        expected = generate_alone(sequence, self.capacity)
        assert (sequence.output_token_ids, sequence.status) == expected
        self.check_scores(sequence)

    def check_scores(self, sequence: Sequence) -> None:
        """Every position of a prompt but its last is scored once, when anybody asks for it."""
        prompt = sequence.token_ids[: sequence.num_prompt_tokens]
        expected = [next_token(prompt[: i + 1]) for i in range(len(prompt) - 1)]
        assert self.scores[sequence.seq_id] == (expected if sequence.scores_prompt else [])


def ids(step: ScheduledStep) -> list[int]:
    return [scheduled.sequence.seq_id for scheduled in step.sequences]


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_prompts_are_prefilled_in_chunks_beside_decodes(layout: str) -> None:
    bench = Bench(layout, budget=6)
    first = bench.add(1, [1, 2], max_tokens=6)
    second = bench.add(2, list(range(10, 20)), max_tokens=2)
    shapes = [
        [(s.sequence.seq_id, s.start, s.num_tokens, s.samples) for s in bench.step().sequences]
        for _ in range(3)
    ]
    assert shapes == [
        [(1, 0, 2, True), (2, 0, 4, False)],
        [(1, 2, 1, True), (2, 4, 5, False)],
        [(1, 3, 1, True), (2, 9, 1, True)],
    ]
    bench.drain()
    bench.check_alone(first)
    bench.check_alone(second)


def test_no_more_sequences_than_allowed(layout: str) -> None:
    bench = Bench(layout, seqs=2)
    for seq_id in range(5):
        bench.add(seq_id, [seq_id, 1])
    assert ids(bench.step()) == [0, 1]
    assert (bench.scheduler.num_running, bench.scheduler.num_waiting) == (2, 3)
    bench.drain()


def test_lower_priority_value_goes_first_and_ties_by_arrival(layout: str) -> None:
    bench = Bench(layout, seqs=1)
    for seq_id, priority in enumerate([1, 0, 1, -3, 0]):
        bench.add(seq_id, [1], max_tokens=1, priority=priority)
    order = []
    while bench.scheduler.has_work:
        order += ids(bench.step())
    assert order == [3, 1, 4, 0, 2]


def test_the_newest_is_preempted_and_comes_back_first(layout: str) -> None:
    bench = Bench(layout, capacity=12, seqs=2)
    old = bench.add(0, [1, 2, 3, 4], max_tokens=8)
    young = bench.add(1, [5, 6, 7, 8], max_tokens=8)
    late = bench.add(2, [9, 9], max_tokens=1)
    while bench.scheduler.has_work:
        bench.step()
        assert old.status is not SequenceStatus.PREEMPTED
        # The one that lost its memory is ahead of the one that never had any.
        assert young.status is not SequenceStatus.PREEMPTED or late.status is SequenceStatus.WAITING
    assert bench.scheduler.num_preemptions > 0
    for sequence in (old, young, late):
        bench.check_alone(sequence)


def test_a_less_urgent_sequence_is_the_victim_of_a_newer_one(layout: str) -> None:
    bench = Bench(layout, capacity=12)
    relaxed = bench.add(0, [1, 2, 3, 4], max_tokens=8, priority=1)
    urgent = bench.add(1, [5, 6, 7, 8], max_tokens=8)
    while not urgent.is_finished:
        bench.step()
        assert urgent.status is not SequenceStatus.PREEMPTED
    assert bench.scheduler.num_preemptions > 0
    bench.drain()
    bench.check_alone(relaxed)


def test_a_preempted_sequence_continues_from_its_cached_blocks() -> None:
    bench = Bench("block", capacity=16)
    bench.add(0, [1, 2, 3, 4], max_tokens=6)
    victim = bench.add(1, [5, 6, 7, 8, 9, 9, 9], max_tokens=9)
    while victim.status is not SequenceStatus.PREEMPTED:
        bench.step()
    generated = victim.num_output_tokens
    assert generated > 0
    while victim.status is SequenceStatus.PREEMPTED:
        step = bench.step()
    resumed = step.sequences[ids(step).index(1)]
    assert 0 < resumed.start < victim.num_prompt_tokens + generated
    assert victim.num_cached_tokens == 0
    stats = bench.kv.stats()
    assert (stats.prefix_hits, stats.prefix_misses) == (0, 2)
    bench.drain()
    bench.check_alone(victim)


def test_cached_tokens_are_those_of_the_first_admission() -> None:
    bench = Bench("block")
    prompt = [1, 2, 3, 4, 5]
    bench.add(0, prompt)
    bench.drain()
    warm = bench.add(1, prompt)
    step = bench.step()
    assert (step.sequences[0].start, step.num_tokens) == (4, 1)
    assert warm.num_cached_tokens == 4
    bench.drain()
    bench.check_alone(warm)


def test_a_scored_prompt_computes_every_position() -> None:
    bench = Bench("block")
    prompt = [1, 2, 3, 4, 5]
    bench.add(0, prompt)
    bench.drain()
    scored = bench.add(1, prompt, scores_prompt=True)
    step = bench.step()
    assert (step.sequences[0].start, step.num_tokens) == (0, 5)
    assert step.sequences[0].scored == range(4)
    assert scored.num_cached_tokens == 0
    bench.drain()
    bench.check_alone(scored)


def test_scored_prompts_share_the_rows_of_a_step(layout: str) -> None:
    bench = Bench(layout, capacity=256, budget=128, seqs=3)
    assert bench.max_rows == 32
    decode = bench.add(0, [1, 2], max_tokens=9)
    bench.step()
    long = bench.add(1, [token % 7 for token in range(50)], scores_prompt=True)
    plain = bench.add(2, [3] * 40)
    shapes = [
        [(s.sequence.seq_id, s.start, s.num_tokens, len(s.scored)) for s in bench.step().sequences]
        for _ in range(3)
    ]
    # The decode takes a row, the scored prompt all others, so that nobody else gets in.
    assert shapes == [
        [(0, 2, 1, 0), (1, 0, 31, 31)],
        [(0, 3, 1, 0), (1, 31, 19, 18), (2, 0, 40, 0)],
        [(0, 4, 1, 0), (1, 50, 1, 0), (2, 40, 1, 0)],
    ]
    bench.drain()
    for sequence in (decode, long, plain):
        bench.check_alone(sequence)


def test_a_prompt_under_way_waits_for_a_row_with_its_last_token(layout: str) -> None:
    bench = Bench(layout, capacity=256, budget=64, seqs=3)
    urgent = bench.add(0, [token % 5 for token in range(80)], scores_prompt=True)
    plain = bench.add(1, [4] * 40)
    bench.step()
    late = bench.add(2, [5] * 9, priority=-1)
    for _ in range(4):
        bench.step()
    bench.drain()
    for sequence in (urgent, plain, late):
        bench.check_alone(sequence)


def test_outgrowing_the_cache_ends_with_length(layout: str) -> None:
    bench = Bench(layout, capacity=8)
    sequence = bench.add(0, [1, 2, 3], max_tokens=100)
    bench.drain()
    assert sequence.status is SequenceStatus.FINISHED_LENGTH
    assert sequence.num_tokens == 9  # the last one needs no room


def test_a_prompt_that_never_fits_is_refused_with_the_numbers(layout: str) -> None:
    bench = Bench(layout, capacity=8)
    with pytest.raises(CapacityError, match=r"has 8 tokens .* holds 8;") as e:
        bench.add(0, [1] * 8)
    assert e.value.parameter == "prompt"
    assert not bench.scheduler.has_work
    bench.add(1, [1] * 7)
    bench.drain()


def test_stop_token_is_kept_and_named(layout: str) -> None:
    bench = Bench(layout)
    token = next_token([1, 2])
    params = SamplingParams(max_tokens=None, stop_token_ids=(token,), ignore_eos=True)
    sequence = bench.add(0, [1, 2], params=params)
    bench.drain()
    assert sequence.output_token_ids == [token]
    assert sequence.status is SequenceStatus.FINISHED_STOPPED
    assert sequence.stop_reason == token


def test_abort_frees_running_and_waiting_sequences(layout: str) -> None:
    bench = Bench(layout, seqs=1)
    running, waiting = bench.add(0, [1, 2]), bench.add(1, [3, 4])
    bench.step()
    assert bench.scheduler.abort(0)
    assert bench.scheduler.abort(1)
    assert not bench.scheduler.abort(0)
    assert not bench.scheduler.has_work
    assert bench.kv.stats().used == 0
    assert running.status is waiting.status is SequenceStatus.FINISHED_ABORTED


def test_abort_while_the_step_runs_drops_its_token(layout: str) -> None:
    bench = Bench(layout)
    gone, stays = bench.add(0, [1, 2]), bench.add(1, [3, 4])
    step = bench.schedule()
    tokens = bench.execute(step)
    bench.scheduler.abort(0)
    assert bench.scheduler.update(step, tokens) == [stays]
    assert gone.output_token_ids == []
    bench.drain()
    bench.check_alone(stays)


def test_finish_from_outside_carries_the_reason(layout: str) -> None:
    bench = Bench(layout)
    sequence = bench.add(0, [1, 2])
    bench.step()
    assert bench.scheduler.finish(0, SequenceStatus.FINISHED_STOPPED, "END")
    assert (sequence.status, sequence.stop_reason) == (SequenceStatus.FINISHED_STOPPED, "END")
    assert not bench.scheduler.has_work


def test_a_failed_step_ends_its_sequences_only(layout: str) -> None:
    bench = Bench(layout, budget=4, seqs=2)
    failed, queued = bench.add(0, [1, 2, 3]), bench.add(1, [1, 2, 3, 4])
    bench.scheduler.abort(1)
    step = bench.schedule()
    bench.model.fail(build_step_input(step, bench.kv))
    assert bench.scheduler.rollback(step) == [failed]
    assert failed.status is SequenceStatus.FINISHED_ERROR
    assert queued.status is SequenceStatus.FINISHED_ABORTED
    assert bench.kv.stats().used == 0
    again = bench.add(2, [1, 2, 3])
    bench.drain()
    assert again.num_cached_tokens == 0
    bench.check_alone(again)


def test_two_steps_are_under_way_at_most_and_come_back_in_order() -> None:
    bench = Bench()
    bench.add(0, [1, 2])
    first, second = bench.schedule(), bench.schedule()
    with pytest.raises(RuntimeError, match="neither updated nor rolled back"):
        bench.scheduler.schedule()
    with pytest.raises(RuntimeError, match="not the first of the steps under way"):
        bench.scheduler.update(second, [1])
    with pytest.raises(ValueError, match="draws 1 tokens, got 2"):
        bench.scheduler.update(first, [1, 2])
    bench.scheduler.update(first, [1])
    with pytest.raises(RuntimeError, match="not the first of the steps under way"):
        bench.scheduler.update(first, [1])
    bench.scheduler.update(second, [1])


def test_a_step_goes_on_with_tokens_that_another_draws(layout: str) -> None:
    bench = Bench(layout, budget=6)
    first = bench.add(1, [1, 2], max_tokens=4)
    second = bench.add(2, list(range(10, 16)), max_tokens=3)
    shapes = []
    before = bench.schedule()
    drawn = bench.execute(before)
    while bench.scheduler.has_work:
        step = bench.scheduler.schedule()
        after = [] if step is None else bench.execute(step)
        bench.update(before, drawn)
        shapes.append([(s.sequence.seq_id, s.start, s.drawn_row) for s in before.sequences])
        if step is not None:
            before, drawn = step, after
    assert shapes == [
        [(1, 0, -1), (2, 0, -1)],
        [(1, 2, 0), (2, 4, -1)],
        [(1, 3, 0), (2, 6, 1)],
        [(1, 4, 0), (2, 7, 1)],
    ]
    bench.check_alone(first)
    bench.check_alone(second)


def test_what_ends_with_the_token_under_way_has_no_other(layout: str) -> None:
    bench = Bench(layout, capacity=8)
    limited = bench.add(0, [1, 2], max_tokens=1)
    outgrown = bench.add(1, [1, 2, 3], max_tokens=100)
    step = bench.schedule()
    tokens = bench.execute(step)
    ahead = bench.schedule()
    assert ids(ahead) == [1]
    ahead_tokens = bench.execute(ahead)
    assert bench.update(step, tokens) == [limited, outgrown]
    bench.check_alone(limited)
    while not outgrown.is_finished:
        step, tokens = ahead, ahead_tokens
        following = bench.scheduler.schedule()
        if following is not None:
            ahead, ahead_tokens = following, bench.execute(following)
        bench.update(step, tokens)
    assert bench.scheduler.schedule() is None
    assert bench.scheduler.num_preemptions == 0
    bench.check_alone(outgrown)


def test_a_place_is_free_while_its_last_token_is_under_way(layout: str) -> None:
    bench = Bench(layout, seqs=2)
    for seq_id in range(3):
        bench.add(seq_id, [seq_id, 1], max_tokens=1 + seq_id)
    step = bench.schedule()
    tokens = bench.execute(step)
    ahead = bench.schedule()
    assert (ids(step), ids(ahead)) == ([0, 1], [1, 2])
    ahead_tokens = bench.execute(ahead)
    bench.update(step, tokens)
    bench.update(ahead, ahead_tokens)
    bench.drain()


def test_what_ends_by_its_token_has_one_too_many_dropped(layout: str) -> None:
    bench = Bench(layout)
    token = next_token([1, 2])
    params = SamplingParams(max_tokens=None, stop_token_ids=(token,), ignore_eos=True)
    sequence = bench.add(0, [1, 2], params=params)
    step = bench.schedule()
    tokens = bench.execute(step)
    ahead = bench.schedule()
    surplus = bench.execute(ahead)
    assert bench.update(step, tokens) == [sequence]
    assert bench.kv.stats().used == 0
    assert bench.update(ahead, surplus) == []
    assert sequence.output_token_ids == [token]
    assert sequence.stop_reason == token


def test_a_victim_waits_for_the_step_that_it_is_in(layout: str) -> None:
    bench = Bench(layout, capacity=8)
    old = bench.add(0, [1, 2, 3], max_tokens=6)
    victim = bench.add(1, [4, 5, 6], max_tokens=6)
    bench.step()
    step = bench.schedule()
    tokens = bench.execute(step)
    assert ids(step) == [0, 1]
    ahead = bench.schedule()
    assert ids(ahead) == [0]
    assert victim.status is SequenceStatus.PREEMPTED
    ahead_tokens = bench.execute(ahead)
    # Its token of the step that ran is its own all the same.
    assert bench.update(step, tokens) == [old, victim]
    assert victim.num_output_tokens == 2
    bench.update(ahead, ahead_tokens)
    bench.drain()
    bench.check_alone(old)
    bench.check_alone(victim)


def test_a_victim_that_would_fit_at_once_waits_too() -> None:
    """Its blocks are still in the cache, as another's: what is computed of it is not yet."""
    bench = Bench("block", capacity=12)
    old = bench.add(0, [1, 0, 1, 0, 1], max_tokens=7)
    victim = bench.add(1, [1, 0, 1, 0, 1], max_tokens=7)
    bench.step()
    step = bench.schedule()
    tokens = bench.execute(step)
    ahead = bench.schedule()
    assert ids(ahead) == [0]
    assert victim.status is SequenceStatus.PREEMPTED
    ahead_tokens = bench.execute(ahead)
    bench.update(step, tokens)
    bench.update(ahead, ahead_tokens)
    bench.drain()
    bench.check_alone(old)
    bench.check_alone(victim)


def test_an_interrupt_of_planning_leaves_nothing_planned(
    layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(layout, seqs=1)
    running, waiting = bench.add(0, [1, 2, 3]), bench.add(1, [4])
    bench.step()

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bench.scheduler, "_admit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            bench.scheduler.schedule()
    bench.drain()
    bench.check_alone(running)
    bench.check_alone(waiting)


def test_a_failed_step_takes_its_sequences_out_of_the_one_behind_it(layout: str) -> None:
    bench = Bench(layout)
    failed = bench.add(0, [1, 2, 3])
    step = bench.schedule()
    bench.model.fail(build_step_input(step, bench.kv))
    late = bench.add(1, [1, 2, 3, 4])
    ahead = bench.schedule()
    assert ids(ahead) == [0, 1]
    tokens = bench.execute(ahead)
    assert bench.scheduler.rollback(step) == [failed]
    assert bench.update(ahead, tokens) == [late]
    bench.drain()
    bench.check_alone(late)


def test_the_step_behind_one_that_runs_may_fail_alone(layout: str) -> None:
    bench = Bench(layout)
    failed = bench.add(0, [1, 2, 3])
    step = bench.schedule()
    tokens = bench.execute(step)
    ahead = bench.schedule()
    assert bench.update(step, tokens) == [failed]
    assert bench.scheduler.rollback(ahead) == [failed]
    assert failed.output_token_ids == tokens
    assert bench.kv.stats().used == 0
    with pytest.raises(ValueError, match="not in list"):
        bench.scheduler.rollback(ahead)


def test_a_sequence_id_lives_once() -> None:
    bench = Bench()
    bench.add(0, [1])
    with pytest.raises(ValueError, match="sequence 0 is scheduled already"):
        bench.add(0, [1])


@dataclass
class UnderWay:
    step: ScheduledStep
    inputs: StepInput
    fails: bool
    drawn: list[int] | None = None  # when it has been executed


class SchedulerMachine(RuleBasedStateMachine):
    """Random arrivals, cancels, priorities and failures in a cache that is too small for them.

    Up to two steps are under way. The model executes them in their order, at once or as late as
    when the result is asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sequences: dict[int, Sequence] = {}
        self.cut_short: set[int] = set()  # aborted or failed
        self.under_way: list[UnderWay] = []

    @initialize(
        layout=st.sampled_from(LAYOUTS),
        capacity=st.integers(4, 24),
        budget=st.integers(1, 12),
        seqs=st.integers(1, 5),
    )
    def start(self, layout: str, capacity: int, budget: int, seqs: int) -> None:
        self.bench = Bench(layout, capacity=capacity, budget=budget, seqs=seqs)
        self.scheduler = self.bench.scheduler

    @rule(
        data=st.data(),
        max_tokens=st.integers(1, 12),
        min_tokens=st.integers(0, 3),
        priority=st.integers(0, 1),
        ignore_eos=st.booleans(),
        scores_prompt=st.booleans(),
    )
    def add(
        self, data: st.DataObject, max_tokens: int, min_tokens: int, priority: int,
        ignore_eos: bool, scores_prompt: bool,
    ) -> None:  # fmt: skip
        prompt = data.draw(
            st.lists(st.integers(0, 1), min_size=1, max_size=self.bench.capacity - 1)
        )
        seq_id = len(self.sequences)
        self.sequences[seq_id] = self.bench.add(
            seq_id,
            prompt,
            max_tokens=max_tokens,
            priority=priority,
            scores_prompt=scores_prompt,
            params=SamplingParams(
                max_tokens=None,
                min_tokens=min_tokens,
                ignore_eos=ignore_eos,
                stop_token_ids=(STOP,),
            ),
        )

    def live(self) -> list[Sequence]:
        return [member for member in self.sequences.values() if not member.is_finished]

    @precondition(lambda self: self.sequences and self.live())
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(self.live()))
        self.cut_short.add(member.seq_id)
        assert self.scheduler.abort(member.seq_id)
        assert member.status is SequenceStatus.FINISHED_ABORTED

    @precondition(lambda self: self.sequences and len(self.under_way) < 2)
    @rule(fast=st.booleans(), fails=st.sampled_from([False] * 7 + [True]))
    def start_step(self, fast: bool, fails: bool) -> None:
        self.checked_start(fails=fails)
        if fast:
            self.execute()

    @precondition(lambda self: self.under_way)
    @rule()
    def land_step(self) -> None:
        self.checked_landing()

    @precondition(lambda self: self.sequences and self.live())
    @rule(count=st.integers(1, 4), ahead=st.booleans())
    def steps(self, count: int, ahead: bool) -> None:
        for _ in range(count):
            self.checked_step(ahead=ahead)

    def checked_step(self, *, ahead: bool) -> None:
        if not self.under_way:
            self.checked_start(fails=False)
        if ahead and len(self.under_way) == 1:
            self.checked_start(fails=False)
        if self.under_way:
            self.checked_landing()

    def checked_start(self, *, fails: bool) -> None:
        busy = {item.sequence.seq_id for this in self.under_way for item in this.step.sequences}
        live = sorted(self.live(), key=lambda member: (member.priority, member.seq_id))
        was_running = [m for m in live if m.status is SequenceStatus.RUNNING]
        leaving = [m for m in was_running if self.has_all(m)]
        step = self.scheduler.schedule()
        members = [] if step is None else [scheduled.sequence for scheduled in step.sequences]
        running = [m for m in self.live() if m.status is SequenceStatus.RUNNING]
        assert sum(m not in leaving for m in running) <= self.bench.max_num_seqs
        # The first in the order goes on, unless the token under way is its last.
        for first in was_running[:1]:
            assert first is not live[0] or first in members or self.has_all(first)
        for member in running:
            decodes = member.num_tokens - member.num_computed == 1
            assert member in members or not decodes or self.has_all(member)
        for member in self.live():
            assert member.num_computed == 0 or member.status is SequenceStatus.RUNNING
        self.check_arrival_order()
        if step is None:
            assert busy or not live
            return
        assert 0 < step.num_tokens <= self.bench.budget
        for item in step.sequences:
            assert item.drawn_row == -1 or item.sequence.seq_id in busy
        self.check_slots(running, step)
        self.under_way.append(UnderWay(step, build_step_input(step, self.bench.kv), fails))

    def has_all(self, member: Sequence) -> bool:
        """Whether no token may follow those that are under way."""
        outgrown = member.num_tokens > self.bench.capacity
        return outgrown or member.num_tokens - member.num_prompt_tokens == member.max_tokens

    def execute(self) -> None:
        for this in self.under_way:
            if this.drawn is None and this.fails:
                self.bench.model.fail(this.inputs)
                this.drawn = []
            elif this.drawn is None:
                this.drawn = self.bench.model.execute(this.inputs)

    def checked_landing(self) -> None:
        this = self.under_way[0]
        if this.drawn is None:
            behind, self.under_way[1:] = self.under_way[1:], []
            self.execute()
            self.under_way += behind
        del self.under_way[0]
        left = [item for item in this.step.sequences if not item.sequence.is_finished]
        if this.fails:
            members = [item.sequence for item in left]
            assert self.scheduler.rollback(this.step) == members
            self.cut_short |= {member.seq_id for member in members}
            assert all(m.status is SequenceStatus.FINISHED_ERROR for m in members)
            return
        before = [item.sequence.num_output_tokens for item in left]
        assert this.drawn is not None
        advanced = self.bench.update(this.step, this.drawn)
        assert advanced == [item.sequence for item in left if item.samples]
        for item, count in zip(left, before, strict=True):
            assert item.sequence.num_output_tokens == count + item.samples

    def check_arrival_order(self) -> None:
        """Nobody is let in before an equally urgent sequence that came earlier."""
        for priority in (0, 1):
            ranked = [
                member.status is SequenceStatus.WAITING
                for member in self.live()
                if member.priority == priority
            ]
            assert ranked == sorted(ranked)

    def check_slots(self, running: list[Sequence], step: ScheduledStep) -> None:
        """A slot has one owner unless it is in a block of computed tokens common to all of them."""
        reach = {s.sequence.seq_id: s.start + s.num_tokens for s in step.sequences}
        owners: dict[int, tuple[Sequence, int]] = {}
        for member in running:
            length = reach.get(member.seq_id, member.num_computed)
            for position, slot in enumerate(self.bench.kv.slots(member.seq_id, 0, length).tolist()):
                other, there = owners.setdefault(slot, (member, position))
                if other is member:
                    continue
                end = (position // BLOCK_SIZE + 1) * BLOCK_SIZE
                assert self.bench.kv.layout == "block"
                assert there == position
                assert other.token_ids[:end] == member.token_ids[:end]
                assert end <= min(other.num_computed, member.num_computed)

    @invariant()
    def no_memory_without_work(self) -> None:
        if hasattr(self, "bench") and not self.live():
            assert not self.scheduler.has_work
            assert self.bench.kv.stats().used == 0

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        # The first in the order moves on in every step, so each waits for the work of the others.
        limit = sum(member.num_tokens + member.max_tokens for member in self.live()) * 2
        for count in range(limit + 2):
            if self.live():
                self.checked_step(ahead=count % 3 > 0)
        assert not self.live()
        while self.under_way:
            self.checked_landing()
        assert self.bench.kv.stats().used == 0
        for member in self.sequences.values():
            if member.seq_id not in self.cut_short:
                self.bench.check_alone(member)
            else:
                expected, _ = generate_alone(member, self.bench.capacity)
                assert member.output_token_ids == expected[: member.num_output_tokens]


def test_every_sequence_ends_with_the_tokens_it_gets_alone() -> None:
    run_state_machine_as_test(SchedulerMachine, settings=STATEFUL)
