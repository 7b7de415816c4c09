"""Which sequences run in the next step, and with how many tokens."""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stagegate.core.preemption_log import PreemptionLog
from stagegate.core.sequence import SequenceStatus
from stagegate.errors import CapacityError
from stagegate.execution.step import ScheduledSequence, ScheduledStep

if TYPE_CHECKING:
    from stagegate.config import EngineConfig
    from stagegate.core.sequence import Sequence
    from stagegate.execution.step import SequenceOutput, StepOutput
    from stagegate.kv.manager import KVManager


@dataclass(slots=True)
class _Plan:
    """A step in the making.

    tokens, rows: tokens and rows of logits it has left. sampled_rows: by sequence, the row of the
    step in flight that samples its next token.
    """

    tokens: int
    rows: int
    sampled_rows: dict[int, int]
    scheduled: list[ScheduledSequence] = field(default_factory=list)

    def add(self, sequence: Sequence) -> None:
        """As many of the missing tokens of a sequence as there is room for; none is no item."""
        start = sequence.num_computed
        # From there on every token takes a row.
        first_row = max(start, sequence.first_logits_position)
        stop = min(sequence.num_tokens, start + self.tokens, first_row + self.rows)
        if stop <= start:
            return
        is_known = stop <= len(sequence.token_ids)
        item = ScheduledSequence(
            sequence,
            start,
            stop - start,
            range(min(first_row, stop), stop),
            -1 if is_known else self.sampled_rows[sequence.seq_id],
        )
        self.tokens -= stop - start
        self.rows -= len(item.logits)
        self.scheduled.append(item)

    def add_decode(self, sequence: Sequence, num_tokens: int) -> None:
        """The same for a sequence of which the last of `num_tokens` tokens alone is missing."""
        if self.tokens == 0 or self.rows == 0:
            return
        start = num_tokens - 1
        is_known = num_tokens <= len(sequence.token_ids)
        sampled_row = -1 if is_known else self.sampled_rows[sequence.seq_id]
        logits = range(start, num_tokens)
        self.tokens -= 1
        self.rows -= 1
        self.scheduled.append(ScheduledSequence(sequence, start, 1, logits, sampled_row))


class Scheduler:
    """Continuous batching (Yu et al., 2022) with chunked prefill (Agrawal et al., 2023).

    One order rules everything: priority, lower first, then arrival. Decodes go first, one token
    each; then prompts that have begun; then new ones while there is budget, memory and a place
    among max_num_seqs. A sequence is admitted with room for all its tokens, so admitted prompts
    always get through; only decodes ask for more. When there is none, the last sequence in the
    order gives up its memory and computes its tokens anew later, generated ones included.

    Every step advances every decode, for max_num_seqs never exceeds max_num_batched_tokens, and the
    first in the order is never the victim of another: so work always ends.

    `schedule`, run the step, then `update`, or `rollback` when it failed. One step more may be
    scheduled while one is in flight, and goes on with the tokens that the first samples before they
    are known. A sequence that turns out to have ended by its token has one too many in the second,
    which is dropped. Steps must take effect in their order, so that memory a sequence gave up is
    written by the next that gets it, and come back in their order.
    """

    def __init__(self, config: EngineConfig, kv: KVManager) -> None:
        self.num_preemptions = 0
        self._preemption_log = PreemptionLog()
        self._kv = kv
        self._max_num_batched_tokens = config.step_tokens
        self._max_num_seqs = config.max_num_seqs
        self._max_rows = config.max_logits_rows
        self._arrivals = 0
        self._order: dict[int, tuple[int, int]] = {}  # live sequences: (priority, arrival)
        self._live: dict[int, Sequence] = {}
        self._waiting: list[Sequence] = []  # both lists are kept in order
        self._running: list[Sequence] = []
        self._in_flight: list[ScheduledStep] = []

    @property
    def has_work(self) -> bool:
        return bool(self._live)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        return len(self._running)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; CapacityError when the cache could not hold it even alone."""
        if sequence.seq_id in self._live:
            msg = f"sequence {sequence.seq_id} is scheduled already"
            raise ValueError(msg)
        self.check_capacity(sequence.num_tokens)
        # The last token needs no room.
        longest = self._kv.capacity_tokens + 1 - sequence.num_prompt_tokens
        sequence.max_tokens = min(sequence.max_tokens, longest)
        self._live[sequence.seq_id] = sequence
        self._order[sequence.seq_id] = (sequence.priority, self._arrivals)
        self._arrivals += 1
        insort(self._waiting, sequence, key=self._rank)

    def check_capacity(self, num_tokens: int) -> None:
        """CapacityError when a prompt of `num_tokens` could not be served even alone."""
        capacity = self._kv.capacity_tokens
        if num_tokens + 1 > capacity:
            msg = (
                f"the prompt has {num_tokens} tokens and needs room for one more, but the "
                f"KV cache holds {capacity}; shorten the prompt or raise kv_capacity_tokens"
            )
            raise CapacityError(msg, parameter="prompt")

    def abort(self, seq_id: int) -> bool:
        """End a sequence that nobody wants any more; false when it had ended."""
        return self.finish(seq_id, SequenceStatus.FINISHED_ABORTED)

    def finish(self, seq_id: int, status: SequenceStatus, reason: int | str | None = None) -> bool:
        """End a sequence from outside and free its memory; false when it had ended.

        May come while a step with that sequence runs: its token is dropped then.
        """
        sequence = self._live.get(seq_id)
        if sequence is None:
            return False
        sequence.finish(status, reason)
        self._forget(sequence)
        return True

    def schedule(self) -> ScheduledStep | None:
        """Plan the next step; None when there is no work, or all of it waits for a step in flight.

        While one is, it has to be one that `lets_the_next_run`.
        """
        if len(self._in_flight) > 1:
            msg = "two steps are in flight, neither updated nor rolled back"
            raise RuntimeError(msg)
        plan = _Plan(self._max_num_batched_tokens, self._max_rows, self._sampled_rows())
        self._add_decodes(plan)
        self._add_chunks(plan)
        self._admit(plan)
        if not plan.scheduled:
            return None
        step = ScheduledStep(tuple(plan.scheduled))
        # Only now: an interrupt before this leaves nothing planned.
        for item in step.sequences:
            sequence = self._live[item.sequence.seq_id]
            sequence.num_computed = item.start + item.num_tokens
            if item.logits:
                sequence.num_prompt_logprobs += item.num_prompt_rows
                sequence.num_in_flight += item.samples
        self._in_flight.append(step)
        return step

    def update(self, step: ScheduledStep, output: StepOutput) -> list[SequenceOutput]:
        """Take the result of the first step in flight.

        Returns what it brought each sequence that had not ended before, without the tokens behind
        the one that ended it. Those that ended have their memory freed.
        """
        outputs = step.outputs(output)
        if self._in_flight[:1] != [step]:
            msg = "this is not the first of the steps in flight"
            raise RuntimeError(msg)
        del self._in_flight[0]
        live: list[SequenceOutput] = []
        for one in outputs:
            item = one.item
            sequence = self._live.get(item.sequence.seq_id)
            if sequence is None:
                continue
            if sequence.status is SequenceStatus.RUNNING:  # else it has given its memory up
                num_computed = item.start + item.num_tokens
                self._kv.commit(sequence.seq_id, sequence.token_ids, num_computed)
            if one.token_ids:
                sequence.num_in_flight -= len(one.token_ids)
                added = sequence.append_tokens(one.token_ids)
                if sequence.is_finished:
                    self._forget(sequence)
                if added < len(one.token_ids):
                    del one.token_ids[added:]
            live.append(one)
        return live

    def rollback(self, step: ScheduledStep) -> list[Sequence]:
        """The step failed: its sequences end with FINISHED_ERROR, all others are as before.

        Nothing of a step is shared before `update`, so freeing its sequences undoes it. What
        another step in flight has of them is dropped. Returns the sequences that ended.
        """
        self._in_flight.remove(step)
        ids = [item.sequence.seq_id for item in step.sequences]
        failed = [self._live[seq_id] for seq_id in ids if seq_id in self._live]
        for sequence in failed:
            self.finish(sequence.seq_id, SequenceStatus.FINISHED_ERROR)
        return failed

    def _sampled_rows(self) -> dict[int, int]:
        """By sequence, the row of the step in flight that samples its next token."""
        rows: dict[int, int] = {}
        for step in self._in_flight:
            end = 0
            for item in step.sequences:
                end += len(item.logits)
                if item.samples:
                    rows[item.sequence.seq_id] = end - 1
        return rows

    def _is_in_flight(self, sequence: Sequence) -> bool:
        return any(item.sequence is sequence for step in self._in_flight for item in step.sequences)

    def _add_decodes(self, plan: _Plan) -> None:
        for sequence in self._running.copy():
            num_tokens = sequence.num_tokens
            # Victims come from the end of the order, so nothing added here is taken back.
            if (
                sequence.status is SequenceStatus.RUNNING
                and num_tokens - sequence.num_computed == 1
                and self._may_go_on(sequence)
                and self._make_room(sequence)
            ):
                plan.add_decode(sequence, num_tokens)

    def _add_chunks(self, plan: _Plan) -> None:
        for sequence in self._running:
            if sequence.num_tokens - sequence.num_computed > 1:
                plan.add(sequence)

    def _admit(self, plan: _Plan) -> None:
        if not self._waiting:
            return
        # Whose last token is in flight needs no place in this step.
        places = self._max_num_seqs - sum(map(self._may_go_on, self._running))
        while self._waiting and places > 0:
            if plan.tokens == 0 or plan.rows == 0:
                return
            sequence = self._waiting[0]
            if self._is_in_flight(sequence):
                return  # what that step computes is not in the memory it would get here
            num_cached = self._kv.begin(
                sequence.seq_id,
                sequence.token_ids,
                max_cached=sequence.first_logits_position,
                is_first=sequence.status is SequenceStatus.WAITING,
            )
            if not self._kv.grow(sequence.seq_id, sequence.num_tokens):
                self._kv.free(sequence.seq_id)
                return
            del self._waiting[0]
            if sequence.status is SequenceStatus.WAITING:
                sequence.num_cached_tokens = num_cached
                sequence.admitted_at = time.perf_counter()
            sequence.num_computed = num_cached
            sequence.status = SequenceStatus.RUNNING
            insort(self._running, sequence, key=self._rank)
            plan.add(sequence)  # there is a token and a row left, whichever it needs
            places -= 1

    def _may_go_on(self, sequence: Sequence) -> bool:
        """False when the token that a step in flight samples is its last, whatever it will be."""
        return sequence.num_tokens - sequence.num_prompt_tokens < sequence.max_tokens

    def _make_room(self, sequence: Sequence) -> bool:
        """Room for all tokens of a sequence, at the cost of the last; false if that was itself."""
        while not self._kv.grow(sequence.seq_id, sequence.num_tokens):
            if self._preempt_last() is sequence:
                return False
        return True

    def _preempt_last(self) -> Sequence:
        sequence = self._running.pop()
        self._kv.free(sequence.seq_id)
        sequence.status = SequenceStatus.PREEMPTED
        sequence.num_computed = 0
        self.num_preemptions += 1
        self._preemption_log.note(self.num_preemptions)
        # It keeps its arrival, so it is ahead of all of its priority that never ran.
        insort(self._waiting, sequence, key=self._rank)
        return sequence

    def _forget(self, sequence: Sequence) -> None:
        queue = self._waiting
        index = bisect_left(queue, self._rank(sequence), key=self._rank)
        if index == len(queue) or queue[index] is not sequence:
            self._kv.free(sequence.seq_id)
            queue = self._running
            index = bisect_left(queue, self._rank(sequence), key=self._rank)
        del queue[index]
        del self._live[sequence.seq_id]
        del self._order[sequence.seq_id]

    def _rank(self, sequence: Sequence) -> tuple[int, int]:
        return self._order[sequence.seq_id]
