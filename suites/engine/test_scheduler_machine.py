"""Whatever happens to the schedule, every sequence gets the tokens it would get alone."""

from __future__ import annotations

from dataclasses import dataclass

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

from stagegate.core.sequence import Sequence, SequenceStatus
from stagegate.execution.step import ScheduledStep
from stagegate.kv.block_manager import BlockManager
from stagegate.sampling import SamplingParams
from suites.engine.fake_executor import FakeStep
from suites.engine.scheduler_bench import BLOCK_SIZE, KV_LAYOUTS, STOP, Bench, generate_alone

STATEFUL = settings(max_examples=60, stateful_step_count=40, deadline=None)


@dataclass
class InFlight:
    step: ScheduledStep
    pending: FakeStep
    fails: bool
    executed: bool = False


class SchedulerMachine(RuleBasedStateMachine):
    """Random arrivals, cancels, priorities and failures in a cache that is too small for them.

    Up to two steps are in flight. The model executes them in their order, at once or as late as
    when the result is asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sequences: dict[int, Sequence] = {}
        self.cut_short: set[int] = set()  # aborted or failed
        self.in_flight: list[InFlight] = []

    @initialize(
        kv_layout=st.sampled_from(KV_LAYOUTS),
        capacity=st.integers(4, 32),
        budget=st.integers(1, 40),
        seqs=st.integers(1, 5),
        max_tpot_ms=st.sampled_from([None, 1.0]),
    )
    def start(
        self, kv_layout: str, capacity: int, budget: int, seqs: int, max_tpot_ms: float | None
    ) -> None:
        self.bench = Bench(
            kv_layout, capacity=capacity, budget=budget, seqs=seqs, max_tpot_ms=max_tpot_ms
        )
        self.scheduler = self.bench.scheduler

    @rule(
        data=st.data(),
        max_tokens=st.integers(1, 12),
        min_tokens=st.integers(0, 3),
        priority=st.integers(0, 1),
        ignore_eos=st.booleans(),
        prompt_logprobs=st.booleans(),
    )
    def add(
        self, data: st.DataObject, max_tokens: int, min_tokens: int, priority: int,
        ignore_eos: bool, prompt_logprobs: bool,
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
            prompt_logprobs=prompt_logprobs,
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

    @precondition(lambda self: self.sequences and len(self.in_flight) < 2)
    @rule(fast=st.booleans(), fails=st.sampled_from([False] * 7 + [True]))
    def start_step(self, fast: bool, fails: bool) -> None:
        self.checked_start(fails=fails)
        if fast:
            self.execute()

    @precondition(lambda self: self.in_flight)
    @rule()
    def land_step(self) -> None:
        self.checked_landing()

    @precondition(lambda self: self.sequences and self.live())
    @rule(count=st.integers(1, 4), ahead=st.booleans())
    def steps(self, count: int, ahead: bool) -> None:
        for _ in range(count):
            self.checked_step(ahead=ahead)

    def checked_step(self, *, ahead: bool) -> None:
        if not self.in_flight:
            self.checked_start(fails=False)
        if ahead and len(self.in_flight) == 1:
            self.checked_start(fails=False)
        if self.in_flight:
            self.checked_landing()

    def checked_start(self, *, fails: bool) -> None:
        busy = {item.sequence.seq_id for this in self.in_flight for item in this.step.sequences}
        live = sorted(self.live(), key=lambda member: (member.priority, member.seq_id))
        was_running = [m for m in live if m.status is SequenceStatus.RUNNING]
        leaving = [m for m in was_running if self.has_all(m)]
        step = self.scheduler.schedule()
        members = [] if step is None else [scheduled.sequence for scheduled in step.sequences]
        running = [m for m in self.live() if m.status is SequenceStatus.RUNNING]
        assert sum(m not in leaving for m in running) <= self.bench.max_num_seqs
        # The first in the order goes on, unless the token in flight is its last.
        for first in was_running[:1]:
            assert first is not live[0] or first in members or self.has_all(first)
        for member in running:
            decodes = self.bench.num_tokens(member) - self.bench.num_computed(member) == 1
            assert member in members or not decodes or self.has_all(member)
        self.check_arrival_order()
        if step is None:
            assert busy or not live
            return
        assert 0 < step.num_tokens <= self.bench.budget
        for item in step.sequences:
            assert item.sampled_row == -1 or item.sequence.seq_id in busy
        self.check_slots(running, step)
        self.in_flight.append(InFlight(step, self.bench.submit(step), fails))

    def has_all(self, member: Sequence) -> bool:
        """Whether no token may follow those that are in flight."""
        num_tokens = self.bench.num_tokens(member)
        outgrown = num_tokens > self.bench.capacity
        return outgrown or num_tokens - member.num_prompt_tokens == member.max_tokens

    def execute(self) -> None:
        for this in self.in_flight:
            if this.executed:
                continue
            this.executed = True
            if this.fails:
                self.bench.model.fail(this.pending.inputs)
            else:
                this.pending.wait()

    def checked_landing(self) -> None:
        this = self.in_flight[0]
        if not this.executed:
            behind, self.in_flight[1:] = self.in_flight[1:], []
            self.execute()
            self.in_flight += behind
        del self.in_flight[0]
        left = [
            (item, member)
            for item in this.step.sequences
            if not (member := self.sequences[item.sequence.seq_id]).is_finished
        ]
        if this.fails:
            members = [member for _, member in left]
            assert self.scheduler.rollback(this.step) == members
            self.cut_short |= {member.seq_id for member in members}
            assert all(m.status is SequenceStatus.FINISHED_ERROR for m in members)
            return
        before = [member.num_output_tokens for _, member in left]
        self.scheduler.note_time(this.step, 1e-4 * this.step.num_tokens)
        advanced = self.bench.update(this.step, this.pending.wait())
        assert advanced == [member.seq_id for item, member in left if item.samples]
        for (item, member), count in zip(left, before, strict=True):
            assert member.num_output_tokens == count + item.samples

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
            length = reach.get(member.seq_id, self.bench.num_computed(member))
            for position, slot in enumerate(self.bench.kv.slots(member.seq_id, 0, length).tolist()):
                other, there = owners.setdefault(slot, (member, position))
                if other is member:
                    continue
                end = (position // BLOCK_SIZE + 1) * BLOCK_SIZE
                assert isinstance(self.bench.kv, BlockManager)
                assert there == position
                assert other.token_ids[:end] == member.token_ids[:end]
                assert end <= min(map(self.bench.num_computed, (other, member)))

    @invariant()
    def the_table_says_what_the_steps_in_flight_say(self) -> None:
        if not hasattr(self, "bench"):
            return
        running = self.scheduler._running
        by_order = sorted(self.live(), key=lambda member: (member.priority, member.seq_id))
        assert running.sequences == [m for m in by_order if m.status is SequenceStatus.RUNNING]
        size = self.bench.kv.block_size
        for index, member in enumerate(running.sequences):
            rows = [self.sampled_row(this.step, member) for this in self.in_flight]
            in_flight = sum(row >= 0 for row in rows)
            num_tokens = running.num_tokens[index]
            assert num_tokens == len(member.token_ids) + in_flight
            assert running.limit[index] == member.num_prompt_tokens + member.max_tokens
            assert running.room[index] == size * len(self.bench.kv.block_table(member.seq_id))
            assert running.num_computed[index] <= running.room[index]
            assert 0 < running.num_missing[index] <= num_tokens
            if running.may_go_on[index]:
                assert running.pending_row[index] == (rows[-1] if in_flight else -1)

    @staticmethod
    def sampled_row(step: ScheduledStep, member: Sequence) -> int:
        """The row of a step that samples for a sequence; -1: none."""
        ends = step.row_ptr[1:].tolist()
        for item, end in zip(step.sequences, ends, strict=True):
            if item.sequence is member and item.samples:
                return int(end) - 1
        return -1

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
        while self.in_flight:
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
