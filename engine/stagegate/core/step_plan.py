"""A step in the making, in flight, and what it brought."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from stagegate.execution.step import ScheduledSequence

if TYPE_CHECKING:
    from stagegate.core.sequence import Sequence
    from stagegate.core.step_time import PromptBudget
    from stagegate.execution.step import ScheduledStep

# Rows of a step's output that are a sequence's.
SequenceRows = tuple["Sequence", range]


@dataclass(slots=True)
class StepGains:
    """What a step brought the sequences that had not ended before.

    prompt_logprobs: rows of the output that give these of the next prompt tokens. tokens: rows of
    the sampled tokens that a sequence was given; none behind the one that ended it.
    """

    prompt_logprobs: list[SequenceRows] = field(default_factory=list)
    tokens: list[SequenceRows] = field(default_factory=list)


@dataclass(slots=True)
class StepPlan:
    """What a step has beside its decodes. tokens, rows: tokens and rows of logits that are left."""

    tokens: int
    rows: int
    budget: PromptBudget | None
    sequences: list[Sequence] = field(default_factory=list)
    chunks: list[ScheduledSequence] = field(default_factory=list)

    @property
    def has_room(self) -> bool:
        return (
            self.tokens > 0 and self.rows > 0 and (self.budget is None or self.budget.most(0) > 0)
        )

    def add(self, sequence: Sequence, start: int) -> None:
        """As many of the missing tokens of a sequence as there is room for; none is no item."""
        # From there on every token takes a row.
        first_row = max(start, sequence.first_logits_position)
        tokens = self.tokens if self.budget is None else min(self.tokens, self.budget.most(start))
        stop = min(len(sequence.token_ids), start + tokens, first_row + self.rows)
        if stop <= start:
            return
        if self.budget is not None:
            self.budget.take(start, stop - start)
        logits = range(min(first_row, stop), stop)
        self.tokens -= stop - start
        self.rows -= len(logits)
        self.sequences.append(sequence)
        self.chunks.append(ScheduledSequence(sequence, start, stop - start, logits))


class PlannedStep(NamedTuple):
    """A step in flight, and the sequences of its decodes, with their rows, and of its chunks."""

    step: ScheduledStep
    decoding: list[SequenceRows]
    chunked: list[Sequence]
