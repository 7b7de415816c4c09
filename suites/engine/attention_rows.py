"""Attention metadata read the way its contract says, one token at a time."""

from __future__ import annotations

from collections.abc import Sequence

from stagegate.kv.metadata import AttentionMetadata, PagedMetadata


def visible_slots(
    metadata: AttentionMetadata, starts: Sequence[int], context_lens: Sequence[int]
) -> list[list[int]]:
    """Slots each token of a step sees, ascending."""
    rows: list[list[int]] = []
    if isinstance(metadata, PagedMetadata):
        size = metadata.block_size
        for table, start, length in zip(metadata.block_tables, starts, context_lens, strict=True):
            for position in range(start, length):
                rows.append(
                    sorted(int(table[p // size]) * size + p % size for p in range(position + 1))
                )
        return rows
    used = metadata.used_slots.tolist()
    col_idx = metadata.col_idx.tolist()
    assert used == sorted(set(used))
    assert metadata.row_ptr[0] == 0
    assert metadata.row_ptr[-1] == len(col_idx)
    for begin, end in zip(metadata.row_ptr, metadata.row_ptr[1:], strict=False):
        columns = col_idx[begin:end]
        assert columns == sorted(set(columns))
        rows.append([used[column] for column in columns])
    assert set(col_idx) == set(range(len(used)))
    return rows
