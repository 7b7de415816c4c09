"""Which sequences run in the next step, and with how many tokens."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from engine.errors import CapacityError
from engine.sequence import SequenceStatus

if TYPE_CHECKING:
    from collections.abc import Sequence as Ordered

    import numpy as np
    import numpy.typing as npt

    from engine.config import EngineConfig
    from engine.kv.manager import KVManager
    from engine.sequence import Sequence


class ScheduledSequence(NamedTuple):
    """Tokens start..start+num_tokens-1 of a sequence.

    samples: its next token is drawn. scored: positions whose logits give the log-probability of the
    prompt token that follows.
    """

    sequence: Sequence
    start: int
    num_tokens: int
    samples: bool
    scored: range = range(0)


@dataclass(frozen=True, slots=True)
class ScheduledStep:
    sequences: tuple[ScheduledSequence, ...]

    @property
    def num_tokens(self) -> int:
        return sum(scheduled.num_tokens for scheduled in self.sequences)

    @property
    def num_samples(self) -> int:
        return sum(scheduled.samples for scheduled in self.sequences)


@dataclass(slots=True)
class _Budget:
    """Tokens and rows of logits that a step has left."""

    tokens: int
    rows: int

    def chunk(self, sequence: Sequence) -> ScheduledSequence | None:
        """As many of the missing tokens of a sequence as there is budget for; None for none."""
        start = sequence.num_computed
        # From there on every token takes a row.
        first_row = max(start, sequence.first_logits_position)
        stop = min(sequence.num_tokens, start + self.tokens, first_row + self.rows)
        if stop <= start:
            return None
        self.tokens -= stop - start
        self.rows -= max(stop - first_row, 0)
        return ScheduledSequence(
            sequence,
            start,
            stop - start,
            samples=stop == sequence.num_tokens,
            scored=range(first_row, min(stop, sequence.num_prompt_tokens - 1)),
        )


class Scheduler:
    """Continuous batching (Yu et al., 2022) with chunked prefill (Agrawal et al., 2023).

    One order rules everything: priority, lower first, then arrival. Decodes go first, one token
    each; then prompts that are under way; then new ones while there is budget, memory and a place
    among max_num_seqs. A sequence is admitted with room for all its tokens, so admitted prompts
    always get through; only decodes ask for more. When there is none, the last sequence in the
    order gives up its memory and computes its tokens anew later, generated ones included.

    Every step advances every decode, for max_num_seqs never exceeds max_num_batched_tokens, and the
    first in the order is never the victim of another: so work always ends.

    One step at a time: `schedule`, run it, then `update`, or `rollback` when it failed.
    """

    def __init__(self, config: EngineConfig, kv: KVManager) -> None:
        self.num_preemptions = 0
        self._kv = kv
        self._max_num_batched_tokens = config.max_num_batched_tokens
        self._max_num_seqs = config.max_num_seqs
        self._max_rows = config.max_logits_rows
        self._arrivals = 0
        self._order: dict[int, tuple[int, int]] = {}  # live sequences: (priority, arrival)
        self._live: dict[int, Sequence] = {}
        self._waiting: list[Sequence] = []  # both lists are kept in order
        self._running: list[Sequence] = []
        self._in_flight: ScheduledStep | None = None

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

    def schedule(self) -> ScheduledStep:
        """Plan the next step. Never empty while there is work."""
        if self._in_flight is not None:
            msg = "the last step was neither updated nor rolled back"
            raise RuntimeError(msg)
        budget = _Budget(self._max_num_batched_tokens, self._max_rows)
        scheduled = self._schedule_decodes(budget)
        self._schedule_chunks(scheduled, budget)
        self._admit(scheduled, budget)
        self._in_flight = ScheduledStep(tuple(scheduled))
        return self._in_flight

    def update(
        self, step: ScheduledStep, token_ids: Ordered[int] | npt.NDArray[np.int32]
    ) -> list[Sequence]:
        """Take the result of a step: one token for each sequence that samples, in their order.

        Returns the sequences that got a token; those that ended by it have their memory freed.
        """
        if len(token_ids) != step.num_samples:
            msg = f"the step draws {step.num_samples} tokens, got {len(token_ids)}"
            raise ValueError(msg)
        self._land(step)
        drawn = iter(token_ids)
        advanced: list[Sequence] = []
        for scheduled in step.sequences:
            token_id = int(next(drawn)) if scheduled.samples else None
            sequence = scheduled.sequence
            if sequence.is_finished:
                continue
            sequence.num_computed = scheduled.start + scheduled.num_tokens
            sequence.num_scored += len(scheduled.scored)
            self._kv.commit(sequence, sequence.num_computed)
            if token_id is not None:
                self._advance(sequence, token_id)
                advanced.append(sequence)
        return advanced

    def rollback(self, step: ScheduledStep) -> list[Sequence]:
        """The step failed: its sequences end with FINISHED_ERROR, all others are as before.

        Nothing of a step is shared before `update`, so freeing its sequences undoes it. Returns the
        sequences that ended.
        """
        self._land(step)
        failed = [
            scheduled.sequence for scheduled in step.sequences if not scheduled.sequence.is_finished
        ]
        for sequence in failed:
            self.finish(sequence.seq_id, SequenceStatus.FINISHED_ERROR)
        return failed

    def _schedule_decodes(self, budget: _Budget) -> list[ScheduledSequence]:
        scheduled: list[ScheduledSequence] = []
        for sequence in self._running.copy():
            # Victims come from the end of the order, so nothing scheduled here is taken back.
            if (
                sequence.status is SequenceStatus.RUNNING
                and sequence.num_tokens - sequence.num_computed == 1
                and self._make_room(sequence)
                and (decode := budget.chunk(sequence)) is not None
            ):
                scheduled.append(decode)
        return scheduled

    def _schedule_chunks(self, scheduled: list[ScheduledSequence], budget: _Budget) -> None:
        for sequence in self._running:
            missing = sequence.num_tokens - sequence.num_computed
            if missing > 1 and (chunk := budget.chunk(sequence)) is not None:
                scheduled.append(chunk)

    def _admit(self, scheduled: list[ScheduledSequence], budget: _Budget) -> None:
        while self._waiting and len(self._running) < self._max_num_seqs:
            if budget.tokens == 0 or budget.rows == 0:
                return
            sequence = self._waiting[0]
            num_cached = self._kv.begin(sequence)
            if not self._kv.grow(sequence.seq_id, sequence.num_tokens):
                self._kv.free(sequence.seq_id)
                return
            del self._waiting[0]
            if sequence.status is SequenceStatus.WAITING:
                sequence.num_cached_tokens = num_cached
            sequence.num_computed = num_cached
            sequence.status = SequenceStatus.RUNNING
            insort(self._running, sequence, key=self._rank)
            chunk = budget.chunk(sequence)
            assert chunk is not None  # there is a token and a row left, whichever it needs
            scheduled.append(chunk)

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
        # It keeps its arrival, so it is ahead of all of its priority that never ran.
        insort(self._waiting, sequence, key=self._rank)
        return sequence

    def _advance(self, sequence: Sequence, token_id: int) -> None:
        sequence.append(token_id)
        if not sequence.check_stop(token_id) and sequence.num_tokens > self._kv.capacity_tokens:
            sequence.finish(SequenceStatus.FINISHED_LENGTH)
        if sequence.is_finished:
            self._forget(sequence)

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

    def _land(self, step: ScheduledStep) -> None:
        if step is not self._in_flight:
            msg = "this is not the step that runs"
            raise RuntimeError(msg)
        self._in_flight = None

    def _rank(self, sequence: Sequence) -> tuple[int, int]:
        return self._order[sequence.seq_id]
