"""Which sequences run in the next step, and with how many tokens."""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from stagegate.core.preemption_log import PreemptionLog
from stagegate.core.running import RunningSequences
from stagegate.core.sequence import SequenceStatus
from stagegate.core.step_plan import PlannedStep, StepGains, StepPlan
from stagegate.core.step_time import PromptBudget, StepShape, StepTimes, shape_of
from stagegate.errors import CapacityError
from stagegate.execution.step import DecodeBatch, Decodes, ScheduledStep

if TYPE_CHECKING:
    from stagegate.arrays import Int32Array
    from stagegate.config import EngineConfig
    from stagegate.core.sequence import Sequence
    from stagegate.core.step_plan import SequenceRows
    from stagegate.execution.step import StepOutput
    from stagegate.kv.manager import KVManager


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

    Of those that run it keeps a table, so that a step in which they all decode, and nothing else
    happens, takes a few array operations to plan.
    """

    def __init__(self, config: EngineConfig, kv: KVManager) -> None:
        self.num_preemptions = 0
        self._preemption_log = PreemptionLog()
        self._kv = kv
        self._max_num_batched_tokens = config.step_tokens
        self._max_num_seqs = config.max_num_seqs
        self._max_rows = config.max_logits_rows
        self._max_tpot_ms = config.max_tpot_ms
        self._step_times = StepTimes()
        self._arrivals = 0
        self._order: dict[int, tuple[int, int]] = {}  # live sequences: (priority, arrival)
        self._live: dict[int, Sequence] = {}
        self._waiting: list[Sequence] = []  # in order
        self._running = RunningSequences(self._rank)
        self._in_flight: deque[PlannedStep] = deque()
        # Who decoded last: rows and version of the table, the sequences, the batch of these.
        self._decoding: tuple[Int32Array, int, list[SequenceRows], DecodeBatch] | None = None

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
        rows = self._make_room()
        plan = StepPlan(
            self._max_num_batched_tokens - len(rows),
            self._max_rows - len(rows),
            self._prompt_budget(rows),
        )
        running = self._running
        version = running.version
        if len(rows) < len(running):
            self._add_chunks(plan)
        self._admit(plan)
        if running.version != version:
            # Those that were admitted with one token to compute decode.
            rows = running.decodes
        if not (len(rows) or plan.chunks):
            return None
        decoding, batch = self._batch_of(rows)
        decodes = Decodes(batch, running.num_tokens[rows] - 1, running.pending_row[rows])
        step = ScheduledStep(tuple(plan.chunks), decodes)
        # Only now: an interrupt before this leaves nothing planned.
        self._advance(rows, plan, step.row_ptr)
        self._in_flight.append(PlannedStep(step, decoding, plan.sequences))
        return step

    def update(self, step: ScheduledStep, output: StepOutput) -> StepGains:
        """Take the result of the first step in flight.

        Sequences that end by it have their memory freed.
        """
        step.check(output)
        if not self._in_flight or self._in_flight[0].step is not step:
            msg = "this is not the first of the steps in flight"
            raise RuntimeError(msg)
        planned = self._in_flight.popleft()
        if not self._in_flight:
            self._running.pending_row[:] = -1
        self._commit(planned)
        gains = StepGains()
        token_ids = output.token_ids.tolist()
        for gained, token_id in zip(planned.decoding, token_ids, strict=False):
            sequence = gained[0]
            if not sequence.status.is_finished:
                gains.tokens.append(gained)
                if sequence.append_token(token_id):
                    self._forget(sequence)
        end = len(planned.decoding)
        for sequence, item in zip(planned.chunked, step.chunks, strict=True):
            begin, end = end, end + len(item.logits)
            if sequence.status.is_finished:
                continue
            middle = begin + item.num_prompt_rows
            if middle > begin:
                gains.prompt_logprobs.append((sequence, range(begin, middle)))
            if end > middle:
                added = sequence.append_tokens(token_ids[middle:end])
                gains.tokens.append((sequence, range(middle, middle + added)))
                if sequence.status.is_finished:
                    self._forget(sequence)
        return gains

    def rollback(self, step: ScheduledStep) -> list[Sequence]:
        """The step failed: its sequences end with FINISHED_ERROR, all others are as before.

        Nothing of a step is shared before `update`, so freeing its sequences undoes it. What
        another step in flight has of them is dropped. Returns the sequences that ended.
        """
        planned = next((one for one in self._in_flight if one.step is step), None)
        if planned is None:
            msg = "this is not one of the steps in flight"
            raise RuntimeError(msg)
        self._in_flight.remove(planned)
        if not self._in_flight:
            self._running.pending_row[:] = -1
        members = (*(sequence for sequence, _ in planned.decoding), *planned.chunked)
        failed = [sequence for sequence in members if not sequence.status.is_finished]
        for sequence in failed:
            self.finish(sequence.seq_id, SequenceStatus.FINISHED_ERROR)
        return failed

    def note_time(self, step: ScheduledStep, seconds: float) -> None:
        """A step took so long, and may be followed by others like it."""
        if self._max_tpot_ms is not None:
            self._step_times.observe(shape_of(step), seconds)

    def _prompt_budget(self, decodes: Int32Array) -> PromptBudget | None:
        """None where no limit was stated, or nobody's next token waits for the step."""
        if self._max_tpot_ms is None or not len(decodes):
            return None
        shape = StepShape(len(decodes), int(self._running.num_tokens[decodes].sum()))
        return PromptBudget(self._step_times, self._max_tpot_ms / 1e3, shape)

    def _make_room(self) -> Int32Array:
        """Room for the newest token of every decode, at the cost of the last in the order.

        Returns the rows of the decodes that are left.
        """
        running = self._running
        rows, version = running.decodes, running.version
        short = rows[running.num_tokens[rows] > running.room[rows]]
        for row in short.tolist():
            if row >= len(running):
                break  # it was the victim of another
            sequence, room = running.sequences[row], self._room_of(int(running.num_tokens[row]))
            while not self._kv.grow(sequence.seq_id, room):
                if self._preempt_last() is sequence:
                    break
            else:
                running.room[row] = room
        return rows if running.version == version else running.decodes

    def _add_chunks(self, plan: StepPlan) -> None:
        running = self._running
        for row in np.flatnonzero(running.num_missing > 1).tolist():
            plan.add(running.sequences[row], int(running.num_computed[row]))

    def _admit(self, plan: StepPlan) -> None:
        if not self._waiting:
            return
        # Whose last token is in flight needs no place in this step.
        places = self._max_num_seqs - int(np.count_nonzero(self._running.may_go_on))
        while self._waiting and places > 0 and plan.has_room:
            sequence = self._waiting[0]
            is_first = sequence.status is SequenceStatus.WAITING
            if not is_first and self._is_in_flight(sequence):
                return  # what that step computes is not in the memory it would get here
            num_tokens = len(sequence.token_ids)
            room = self._room_of(num_tokens)
            num_cached = self._kv.begin(
                sequence.seq_id,
                sequence.token_ids,
                max_cached=sequence.first_logits_position,
                is_first=is_first,
            )
            if not self._kv.grow(sequence.seq_id, room):
                self._kv.free(sequence.seq_id)
                return
            del self._waiting[0]
            if is_first:
                sequence.num_cached_tokens = num_cached
                sequence.admitted_at = time.perf_counter()
            sequence.status = SequenceStatus.RUNNING
            self._running.add(sequence, num_computed=num_cached, room=room)
            places -= 1
            if num_tokens - num_cached > 1:
                plan.add(sequence, num_cached)
            else:  # it decodes; there is a token and a row left
                plan.tokens -= 1
                plan.rows -= 1

    def _batch_of(self, rows: Int32Array) -> tuple[list[SequenceRows], DecodeBatch]:
        """The sequences in these rows of the table, and the rows of the output that are theirs.

        The same objects while they are the same.
        """
        running = self._running
        if self._decoding is not None:
            last_rows, version, decoding, batch = self._decoding
            is_same = len(rows) == len(last_rows) and bool((rows == last_rows).all())
            if is_same and version == running.version:
                return decoding, batch
        sequences = [running.sequences[row] for row in rows.tolist()]
        decoding = [(sequence, range(at, at + 1)) for at, sequence in enumerate(sequences)]
        batch = DecodeBatch(tuple(sequences))
        self._decoding = (rows, running.version, decoding, batch)
        return decoding, batch

    def _advance(self, rows: Int32Array, plan: StepPlan, row_ptr: Int32Array) -> None:
        """The sequences are as they will be when a step is done. rows: its decodes in the table."""
        running = self._running
        running.num_computed[rows] += 1
        running.num_tokens[rows] += 1
        running.pending_row[rows] = np.arange(len(rows), dtype=np.int32)
        ends = row_ptr[len(rows) + 1 :].tolist()
        for sequence, item, end in zip(plan.sequences, plan.chunks, ends, strict=True):
            row = running.index(sequence)
            running.num_computed[row] += item.num_tokens
            sequence.num_prompt_logprobs += item.num_prompt_rows
            if item.samples:
                running.num_tokens[row] += 1
                running.pending_row[row] = end - 1

    def _commit(self, planned: PlannedStep) -> None:
        """What a step computed may be shared: a decode's when it is the last of its block."""
        num_computed = planned.step.decodes.starts + 1
        for place in np.flatnonzero(num_computed % self._kv.block_size == 0).tolist():
            self._commit_one(planned.decoding[place][0], int(num_computed[place]))
        for sequence, item in zip(planned.chunked, planned.step.chunks, strict=True):
            self._commit_one(sequence, item.start + item.num_tokens)

    def _commit_one(self, sequence: Sequence, num_computed: int) -> None:
        if sequence.status is SequenceStatus.RUNNING:  # else it has given its memory up
            self._kv.commit(sequence.seq_id, sequence.token_ids, num_computed)

    def _is_in_flight(self, sequence: Sequence) -> bool:
        return any(
            sequence in one.chunked or any(sequence is decoding for decoding, _ in one.decoding)
            for one in self._in_flight
        )

    def _room_of(self, num_tokens: int) -> int:
        """Memory comes in whole blocks."""
        size = self._kv.block_size
        return -(-num_tokens // size) * size

    def _preempt_last(self) -> Sequence:
        sequence = self._running.pop()
        self._kv.free(sequence.seq_id)
        sequence.status = SequenceStatus.PREEMPTED
        self.num_preemptions += 1
        self._preemption_log.note(self.num_preemptions)
        # It keeps its arrival, so it is ahead of all of its priority that never ran.
        insort(self._waiting, sequence, key=self._rank)
        return sequence

    def _forget(self, sequence: Sequence) -> None:
        if self._running.remove(sequence):
            self._kv.free(sequence.seq_id)
        else:
            del self._waiting[bisect_left(self._waiting, self._rank(sequence), key=self._rank)]
        del self._live[sequence.seq_id]
        del self._order[sequence.seq_id]
        self._decoding = None  # nothing is kept of those that have ended

    def _rank(self, sequence: Sequence) -> tuple[int, int]:
        return self._order[sequence.seq_id]
