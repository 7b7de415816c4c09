"""Visible slots per token, in compressed sparse rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.step import CsrMetadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.step import Int32Array


def csr_metadata(slots: Sequence[Int32Array], starts: Sequence[int]) -> CsrMetadata:
    """Rows of sequences whose slots are given by position.

    slots[i], i32 [context_len], holds the slot of every position of a sequence, -1 for a position
    that is not stored; its positions starts[i].. are the rows, each seeing itself and what is
    before. A slot that several sequences share is listed once in used_slots.
    """
    everything = np.concatenate(slots)
    everything = everything[everything >= 0]
    seen = np.zeros(int(everything.max()) + 1, dtype=np.bool_)
    seen[everything] = True
    column_of_slot = np.cumsum(seen, dtype=np.int32) - 1
    columns: list[Int32Array] = []
    lengths: list[Int32Array] = []
    for by_position, start in zip(slots, starts, strict=True):
        rows = np.arange(start, len(by_position), dtype=np.int32)
        stored = np.flatnonzero(by_position >= 0).astype(np.int32)
        slot = by_position[stored]
        # Timsort takes linear time on the few ascending runs that slots come in.
        order = np.argsort(slot, kind="stable")
        position, column = stored[order], column_of_slot[slot[order]]
        visible = position[None, :] <= rows[:, None]
        columns.append(np.broadcast_to(column, visible.shape)[visible])
        lengths.append(np.searchsorted(stored, rows, side="right").astype(np.int32))
    row_ptr = np.zeros(sum(len(length) for length in lengths) + 1, dtype=np.int32)
    np.cumsum(np.concatenate(lengths), out=row_ptr[1:])
    return CsrMetadata(
        used_slots=np.flatnonzero(seen).astype(np.int32),
        row_ptr=row_ptr,
        col_idx=np.concatenate(columns),
    )
