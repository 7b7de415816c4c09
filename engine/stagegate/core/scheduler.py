"""Which sequences run in the next step, and with how many tokens."""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from stagegate.core.sequence import SequenceStatus
from stagegate.errors import CapacityError

if TYPE_CHECKING:
    from collections.abc import Sequence as Ordered

    import numpy as np
    import numpy.typing as npt

    from stagegate.config import EngineConfig
    from stagegate.core.sequence import Sequence
    from stagegate.kv.manager import KVManager


class ScheduledSequence(NamedTuple):
    """Tokens start..start+num_tokens-1 of a sequence.

    samples: its next token is drawn. scored: positions whose logits give the log-probability of the
    prompt token that follows. drawn_row: which draw of the step before is the last of the tokens;
    -1 when they are all known.
    """

    sequence: Sequence
    start: int
    num_tokens: int
    samples: bool
    scored: range = range(0)
    drawn_row: int = -1

    @property
    def num_drawn_before(self) -> int:
        """Tokens that were drawn for the sequence before the one that this step draws."""
        return self.start + self.num_tokens - self.sequence.num_prompt_tokens


@dataclass(frozen=True, slots=True, eq=False)
class ScheduledStep:
    sequences: tuple[ScheduledSequence, ...]

    @property
    def num_tokens(self) -> int:
        return sum(scheduled.num_tokens for scheduled in self.sequences)

    @property
    def num_samples(self) -> int:
        return sum(scheduled.samples for scheduled in self.sequences)

    @property
    def lets_the_next_run(self) -> bool:
        """Whether the next step can be queued before anybody knows what this one drew."""
        return all(
            scheduled.sequence.draws_from_logits_alone
            for scheduled in self.sequences
            if scheduled.samples
        )


@dataclass(slots=True)
class _Draft:
    """A step in the making.

    tokens, rows: tokens and rows of logits it has left. drawn_rows: by sequence, the rows of the
    step under way.
    """

    tokens: int
    rows: int
    drawn_rows: dict[int, int]
    scheduled: list[ScheduledSequence] = field(default_factory=list)

    def add(self, sequence: Sequence) -> None:
        """As many of the missing tokens of a sequence as there is room for; none is no item."""
        start = sequence.num_computed
        # From there on every token takes a row.
        first_row = max(start, sequence.first_logits_position)
        stop = min(sequence.num_tokens, start + self.tokens, first_row + self.rows)
        if stop <= start:
            return
        item = ScheduledSequence(
            sequence,
            start,
            stop - start,
            samples=stop == sequence.num_tokens,
            scored=range(first_row, min(stop, sequence.num_prompt_tokens - 1)),
            drawn_row=self.drawn_rows[sequence.seq_id] if stop > len(sequence.token_ids) else -1,
        )
        self.tokens -= stop - start
        self.rows -= max(stop - first_row, 0)
        self.scheduled.append(item)


class Scheduler:
    """Continuous batching (Yu et al., 2022) with chunked prefill (Agrawal et al., 2023).

    One order rules everything: priority, lower first, then arrival. Decodes go first, one token
    each; then prompts that are under way; then new ones while there is budget, memory and a place
    among max_num_seqs. A sequence is admitted with room for all its tokens, so admitted prompts
    always get through; only decodes ask for more. When there is none, the last sequence in the
    order gives up its memory and computes its tokens anew later, generated ones included.

    Every step advances every decode, for max_num_seqs never exceeds max_num_batched_tokens, and the
    first in the order is never the victim of another: so work always ends.

    `schedule`, run the step, then `update`, or `rollback` when it failed. One step more may be
    scheduled while one runs, and goes on with the tokens that the first draws before they are
    known. A sequence that turns out to have ended by its token has one too many in the second,
    which is dropped. Steps must take effect in their order, so that memory a sequence gave up is
    written by the next that gets it, and come back in their order.
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
        self._under_way: list[ScheduledStep] = []

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

    def schedule(self) -> ScheduledStep | None:
        """Plan the next step; None when there is no work, or all of it waits for a step under way.

        While one is, it has to be one that `lets_the_next_run`.
        """
        if len(self._under_way) > 1:
            msg = "two steps are under way, neither updated nor rolled back"
            raise RuntimeError(msg)
        draft = _Draft(self._max_num_batched_tokens, self._max_rows, self._rows_under_way())
        self._add_decodes(draft)
        self._add_chunks(draft)
        self._admit(draft)
        if not draft.scheduled:
            return None
        step = ScheduledStep(tuple(draft.scheduled))
        # Only now: an interrupt before this leaves nothing planned.
        for item in step.sequences:
            item.sequence.num_computed = item.start + item.num_tokens
            item.sequence.num_scored += len(item.scored)
            item.sequence.num_drawing += item.samples
        self._under_way.append(step)
        return step

    def update(
        self, step: ScheduledStep, token_ids: Ordered[int] | npt.NDArray[np.int32]
    ) -> list[Sequence]:
        """Take the result of the first step under way: one token for each sequence that samples.

        token_ids: in the order of the step. Returns the sequences that got a token; those that
        ended by it have their memory freed.
        """
        if len(token_ids) != step.num_samples:
            msg = f"the step draws {step.num_samples} tokens, got {len(token_ids)}"
            raise ValueError(msg)
        if self._under_way[:1] != [step]:
            msg = "this is not the first of the steps under way"
            raise RuntimeError(msg)
        del self._under_way[0]
        drawn = iter(token_ids)
        advanced: list[Sequence] = []
        for scheduled in step.sequences:
            token_id = int(next(drawn)) if scheduled.samples else None
            sequence = scheduled.sequence
            if sequence.is_finished:
                continue
            if sequence.status is SequenceStatus.RUNNING:  # else it has given its memory up
                self._kv.commit(sequence, scheduled.start + scheduled.num_tokens)
            if token_id is not None:
                sequence.num_drawing -= 1
                self._advance(sequence, token_id)
                advanced.append(sequence)
        return advanced

    def rollback(self, step: ScheduledStep) -> list[Sequence]:
        """The step failed: its sequences end with FINISHED_ERROR, all others are as before.

        Nothing of a step is shared before `update`, so freeing its sequences undoes it. What
        another step under way has of them is dropped. Returns the sequences that ended.
        """
        self._under_way.remove(step)
        failed = [
            scheduled.sequence for scheduled in step.sequences if not scheduled.sequence.is_finished
        ]
        for sequence in failed:
            self.finish(sequence.seq_id, SequenceStatus.FINISHED_ERROR)
        return failed

    def _rows_under_way(self) -> dict[int, int]:
        """By sequence, the row that the step under way draws for it."""
        items = (item for step in self._under_way for item in step.sequences if item.samples)
        return {item.sequence.seq_id: row for row, item in enumerate(items)}

    def _is_under_way(self, sequence: Sequence) -> bool:
        return any(item.sequence is sequence for step in self._under_way for item in step.sequences)

    def _add_decodes(self, draft: _Draft) -> None:
        for sequence in self._running.copy():
            # Victims come from the end of the order, so nothing added here is taken back.
            if (
                sequence.status is SequenceStatus.RUNNING
                and sequence.num_tokens - sequence.num_computed == 1
                and self._may_go_on(sequence)
                and self._make_room(sequence)
            ):
                draft.add(sequence)

    def _add_chunks(self, draft: _Draft) -> None:
        for sequence in self._running:
            if sequence.num_tokens - sequence.num_computed > 1:
                draft.add(sequence)

    def _admit(self, draft: _Draft) -> None:
        if not self._waiting:
            return
        # Whose last token is under way needs no place in this step.
        places = self._max_num_seqs - sum(map(self._may_go_on, self._running))
        while self._waiting and places > 0:
            if draft.tokens == 0 or draft.rows == 0:
                return
            sequence = self._waiting[0]
            if self._is_under_way(sequence):
                return  # what that step computes is not in the memory it would get here
            num_cached = self._kv.begin(sequence)
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
            draft.add(sequence)  # there is a token and a row left, whichever it needs
            places -= 1

    def _may_go_on(self, sequence: Sequence) -> bool:
        """False when the token that a step under way draws is its last, whatever it will be."""
        num_output_tokens = sequence.num_tokens - sequence.num_prompt_tokens
        return (
            num_output_tokens < sequence.max_tokens
            and sequence.num_tokens <= self._kv.capacity_tokens
        )

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
        outgrows = len(sequence.token_ids) > self._kv.capacity_tokens
        if not sequence.check_stop(token_id) and outgrows:
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

    def _rank(self, sequence: Sequence) -> tuple[int, int]:
        return self._order[sequence.seq_id]
