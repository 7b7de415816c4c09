"""Visible slots per token, in compressed sparse rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stagegate.kv.metadata import CsrMetadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagegate.arrays import Int32Array

_NOT_STORED = -1


def csr_metadata(slots: Sequence[Int32Array], starts: Sequence[int]) -> CsrMetadata:
    """Rows of sequences whose slots are given by position.

    slots[i], i32 [context_len], holds the slot of every position of a sequence, -1 for a position
    that is not stored; its positions starts[i].. are the rows, each seeing itself and what is
    before. A slot that several sequences share is listed once in used_slots.
    """
    everything = np.concatenate(slots)
    # Timsort takes linear time on the few ascending runs that the slots of a sequence come in.
    order = np.argsort(everything, kind="stable")
    ascending = everything[order]
    is_new = np.diff(ascending, prepend=np.int32(_NOT_STORED)) > 0
    used_slots = ascending[is_new]
    column_of = np.empty(len(everything), dtype=np.int32)  # -1 where the position is not stored
    column_of[order] = np.cumsum(is_new, dtype=np.int32) - np.int32(1)

    columns: list[Int32Array] = []
    lengths: list[Int32Array] = []
    ends = np.cumsum([len(by_position) for by_position in slots])
    for end, by_position, start in zip(ends, slots, starts, strict=True):
        rows = np.arange(start, len(by_position), dtype=np.int32)
        stored = np.flatnonzero(by_position != _NOT_STORED).astype(np.int32)
        column = column_of[end - len(by_position) : end][stored]
        ascends = np.argsort(column, kind="stable")
        visible = stored[ascends][None, :] <= rows[:, None]
        columns.append(np.broadcast_to(column[ascends], visible.shape)[visible])
        lengths.append(np.searchsorted(stored, rows, side="right").astype(np.int32))
    row_ptr = np.zeros(sum(map(len, lengths)) + 1, dtype=np.int32)
    np.cumsum(np.concatenate(lengths), out=row_ptr[1:])
    return CsrMetadata(used_slots, row_ptr, np.concatenate(columns))
