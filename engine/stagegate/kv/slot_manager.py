"""The slot layout: one cell per token, anywhere in the storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from stagegate.errors import ConfigError
from stagegate.kv.csr import csr_metadata
from stagegate.kv.int_vector import IntVector
from stagegate.kv.manager import KVStats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagegate.arrays import Int32Array
    from stagegate.kv.metadata import CsrMetadata

_NO_CELL = -1


class SlotManager:
    """Unified cells: a cell is a slot with a position and a set of sequence ids.

    Both are kept inverted, as one list of cells by position for each sequence, so that a step reads
    the cells of its own sequences and never searches the storage. Sequences share a cell at one and
    the same position. New cells come from a ring cursor over the free ones.

    Position ranges are half open; a stop of None means the end.
    """

    block_size = 1

    def __init__(self, capacity_tokens: int) -> None:
        if capacity_tokens < 1:
            msg = f"capacity_tokens must be positive, got {capacity_tokens}"
            raise ConfigError(msg)
        self._references = np.zeros(capacity_tokens, dtype=np.int32)
        self._num_free = capacity_tokens
        self._min_free = capacity_tokens
        self._cursor = 0
        self._cells: dict[int, IntVector] = {}

    @property
    def capacity_tokens(self) -> int:
        return len(self._references)

    @property
    def num_slots(self) -> int:
        return len(self._references)

    def begin(
        self, seq_id: int, token_ids: Sequence[int], *, max_cached: int, is_first: bool
    ) -> int:
        if seq_id in self._cells:
            msg = f"sequence {seq_id} is in the cache already"
            raise ValueError(msg)
        self._cells[seq_id] = IntVector()
        return 0

    def grow(self, seq_id: int, num_tokens: int) -> bool:
        cells = self._cells[seq_id]
        missing = num_tokens - len(cells)
        if missing > self._num_free:
            return False
        if missing > 0:
            cells.extend(self._take(missing))
        return True

    def slots(self, seq_id: int, start: int, stop: int) -> Int32Array:
        cells = self._cells[seq_id].values
        if not 0 <= start <= stop <= len(cells):
            msg = f"sequence {seq_id} has {len(cells)} slots, asked for {start}..{stop}"
            raise IndexError(msg)
        found = cells[start:stop].copy()
        if (found == _NO_CELL).any():
            msg = f"sequence {seq_id} has positions removed between {start} and {stop}"
            raise IndexError(msg)
        return found

    def block_table(self, seq_id: int) -> IntVector:
        return self._cells[seq_id]

    def commit(self, seq_id: int, token_ids: Sequence[int], num_computed: int) -> None:
        """Nothing to share: the slot layout has no prefix cache."""

    def truncate(self, seq_id: int, num_tokens: int) -> None:
        self.seq_rm(seq_id, num_tokens)

    def free(self, seq_id: int) -> None:
        self._release(self._cells.pop(seq_id).values)

    def attention_metadata(
        self, seq_ids: Sequence[int], starts: Sequence[int], context_lens: Sequence[int]
    ) -> CsrMetadata:
        slots = [
            self._cells[seq_id].values[:length]
            for seq_id, length in zip(seq_ids, context_lens, strict=True)
        ]
        return csr_metadata(slots, starts)

    def stats(self) -> KVStats:
        return KVStats(
            prefix_hits=0,
            prefix_misses=0,
            prefix_saved_tokens=0,
            evictions=0,
            used=self.capacity_tokens - self._num_free,
            peak=self.capacity_tokens - self._min_free,
            capacity=self.capacity_tokens,
        )

    def seq_pos_max(self, seq_id: int) -> int:
        """The last position a sequence holds, -1 when it holds none."""
        return len(self._cells[seq_id]) - 1

    def seq_cp(self, source: int, target: int, start: int = 0, stop: int | None = None) -> None:
        """Attach `target`, made when it is new, to the cells of `source`; nothing is copied.

        ValueError when `target` holds cells at or after `start`: a position has one cell.
        """
        shared = self._cells[source].values[start:stop]
        held = len(self._cells[target]) if target in self._cells else 0
        if held > start:
            msg = f"sequence {target} ends at position {held - 1}, cannot attach from {start} on"
            raise ValueError(msg)
        cells = self._cells.setdefault(target, IntVector())
        cells.extend(np.full(start - held, _NO_CELL, dtype=np.int32))
        cells.extend(shared)
        self._references[shared[shared != _NO_CELL]] += 1
        self._trim(cells)

    def seq_rm(self, seq_id: int, start: int = 0, stop: int | None = None) -> None:
        """Detach a sequence from the cells of a range; those nobody refers to are free again."""
        cells = self._cells[seq_id]
        removed = cells.values[start:stop]
        self._release(removed)
        removed[:] = _NO_CELL
        self._trim(cells)

    def seq_keep(self, seq_id: int) -> None:
        """Free every other sequence."""
        for other in [known for known in self._cells if known != seq_id]:
            self.free(other)

    def seq_add(self, seq_id: int, start: int, stop: int | None, delta: int) -> NoReturn:
        """Shifting positions is refused: stored keys are rotated by the position they have."""
        msg = (
            f"cannot shift positions {start}..{stop} of sequence {seq_id} by {delta}: their keys "
            "would have to be rotated again; remove the sequence and compute it anew"
        )
        raise ValueError(msg)

    def _take(self, count: int) -> Int32Array:
        """`count` free cells from the cursor on; the caller has seen that there are so many."""
        taken: list[Int32Array] = []
        missing = count
        size = 64
        while missing:
            size = max(missing, 2 * size)  # a full cache is long to search
            window = self._references[self._cursor : self._cursor + size]
            free = np.flatnonzero(window == 0)[:missing].astype(np.int32)
            taken.append(free + np.int32(self._cursor))
            missing -= len(free)
            step = len(window) if missing else int(free[-1]) + 1
            self._cursor = (self._cursor + step) % len(self._references)
        cells = np.concatenate(taken)
        self._references[cells] = 1
        self._num_free -= count
        self._min_free = min(self._min_free, self._num_free)
        return cells

    def _release(self, cells: Int32Array) -> None:
        held = cells[cells != _NO_CELL]
        self._references[held] -= 1
        self._num_free += int(np.count_nonzero(self._references[held] == 0))

    @staticmethod
    def _trim(cells: IntVector) -> None:
        """Let a sequence end at its last stored position."""
        stored = np.flatnonzero(cells.values != _NO_CELL)
        cells.truncate(int(stored[-1]) + 1 if len(stored) else 0)
