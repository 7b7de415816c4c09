"""The sequences that hold memory, and how far each is."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagegate.arrays import BoolArray, Int32Array
    from stagegate.core.sequence import Sequence

    Rank = Callable[[Sequence], tuple[int, int]]

_NUM_COLUMNS = 5


class RunningSequences:
    """A table in the order of the scheduler: one row a sequence, one column for each number.

    A step changes numbers of every sequence. Columns make that a few array operations however many
    sequences there are. A column is a view, valid until a sequence is added or removed.

    num_tokens: prompt and output, those that steps in flight sample included.
    num_computed: how many of these have keys and values when the steps in flight are done.
    limit: as many tokens as it may ever have.
    room: tokens that its memory has room for.
    pending_row: row of the last step in flight that samples its newest token; -1: it is known.

    version: another after every change of the sequences.

    rank: what the order is by; of a sequence that is removed, as it was when that was added.
    """

    def __init__(self, rank: Rank) -> None:
        self.sequences: list[Sequence] = []
        self.version = 0
        self._rank = rank
        self._table = np.empty((_NUM_COLUMNS, 16), dtype=np.int32)

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def num_tokens(self) -> Int32Array:
        return self._table[0, : len(self.sequences)]

    @property
    def num_computed(self) -> Int32Array:
        return self._table[1, : len(self.sequences)]

    @property
    def limit(self) -> Int32Array:
        return self._table[2, : len(self.sequences)]

    @property
    def room(self) -> Int32Array:
        return self._table[3, : len(self.sequences)]

    @property
    def pending_row(self) -> Int32Array:
        return self._table[4, : len(self.sequences)]

    @property
    def may_go_on(self) -> BoolArray:
        """False where the newest token is the last, whatever it will be."""
        return self.num_tokens < self.limit

    @property
    def num_missing(self) -> Int32Array:
        """Tokens that are left to compute."""
        return self.num_tokens - self.num_computed

    @property
    def decodes(self) -> Int32Array:
        """Rows of those with but the newest token to compute, who sample another by that."""
        mask: BoolArray = (self.num_missing == 1) & self.may_go_on
        return mask.nonzero()[0].astype(np.int32)

    def add(self, sequence: Sequence, *, num_computed: int, room: int) -> None:
        """A sequence that has its memory; all of its tokens are known."""
        size = len(self.sequences)
        if size == self._table.shape[1]:
            self._table = np.concatenate([self._table, np.empty_like(self._table)], axis=1)
        index = self._place_of(sequence)
        self._table[:, index + 1 : size + 1] = self._table[:, index:size]
        limit = sequence.num_prompt_tokens + sequence.max_tokens
        self._table[:, index] = (len(sequence.token_ids), num_computed, limit, room, -1)
        self.sequences.insert(index, sequence)
        self.version += 1

    def remove(self, sequence: Sequence) -> bool:
        """False when it is not here."""
        index = self._place_of(sequence)
        size = len(self.sequences)
        if index == size or self.sequences[index] is not sequence:
            return False
        self._table[:, index : size - 1] = self._table[:, index + 1 : size]
        del self.sequences[index]
        self.version += 1
        return True

    def pop(self) -> Sequence:
        """Remove the last."""
        self.version += 1
        return self.sequences.pop()

    def index(self, sequence: Sequence) -> int:
        """The row of a sequence that is here."""
        index = self._place_of(sequence)
        assert self.sequences[index] is sequence
        return index

    def _place_of(self, sequence: Sequence) -> int:
        return bisect_left(self.sequences, self._rank(sequence), key=self._rank)
