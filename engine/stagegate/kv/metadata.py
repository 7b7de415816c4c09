"""Where the keys of a step's tokens are, in the two forms that attention takes.

T tokens of B sequences, the tokens of a sequence next to each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from stagegate.arrays import Int32Array


@dataclass(frozen=True, slots=True)
class PagedMetadata:
    """Keys are found through block tables i32 [B, W], padded with the last block of the row."""

    block_tables: Int32Array
    block_size: int

    def slots(self, rows: Int32Array, positions: Int32Array) -> Int32Array:
        """Slots of positions of the sequences in these rows, i32 like both."""
        size = self.block_size
        blocks: Int32Array = self.block_tables[rows, positions // size]
        return blocks * np.int32(size) + positions % np.int32(size)


@dataclass(frozen=True, slots=True)
class CsrMetadata:
    """Keys are listed per token: used_slots[col_idx[row_ptr[t] : row_ptr[t + 1]]]."""

    used_slots: Int32Array  # [U], ascending and unique
    row_ptr: Int32Array  # [T + 1]
    col_idx: Int32Array  # [nnz], indices into used_slots, ascending inside a row


AttentionMetadata = PagedMetadata | CsrMetadata
