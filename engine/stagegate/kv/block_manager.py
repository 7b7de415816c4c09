"""The block layout: sequences hold fixed-size blocks of slots and may share full ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from stagegate.errors import ConfigError
from stagegate.kv.csr import csr_metadata
from stagegate.kv.int_vector import IntVector
from stagegate.kv.manager import KVStats
from stagegate.kv.metadata import PagedMetadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagegate.arrays import Int32Array
    from stagegate.kv.metadata import AttentionMetadata
    from stagegate.kv.prefix_cache import PrefixCache


@dataclass(slots=True)
class _BlockTable:
    """Blocks of one sequence, and the cache entries of its first full ones."""

    blocks: IntVector = field(default_factory=IntVector)
    entries: list[int] = field(default_factory=list)
    num_tokens: int = 0
    num_computed: int = 0
    # Cached tokens of an admission that counts in the statistics, until it gets its room.
    uncounted: int | None = None


class BlockManager:
    """Blocks with reference counts (PagedAttention, Kwon et al., 2023).

    Args:
        capacity_tokens: room; rounded down to whole blocks, at least one.
        block_size: tokens per block.
        attention_backend: native and flashinfer give block tables to attention, csr lists the
            visible slots of each token.
        prefix_cache: where full blocks are found again; None shares nothing.
    """

    def __init__(
        self,
        capacity_tokens: int,
        *,
        block_size: int,
        attention_backend: str = "native",
        prefix_cache: PrefixCache | None = None,
    ) -> None:
        num_blocks = capacity_tokens // block_size
        if num_blocks < 1:
            msg = f"capacity_tokens={capacity_tokens} is less than one block of {block_size} tokens"
            raise ConfigError(msg)
        self.block_size = block_size
        self._attention_backend = attention_backend
        self._cache = prefix_cache
        self._references = [0] * num_blocks
        self._free = list(range(num_blocks - 1, -1, -1))
        self._tables: dict[int, _BlockTable] = {}
        self._num_used = 0
        self._peak = 0
        self._hits = 0
        self._misses = 0
        self._saved_tokens = 0

    @property
    def capacity_tokens(self) -> int:
        return len(self._references) * self.block_size

    @property
    def num_slots(self) -> int:
        return self.capacity_tokens

    def begin(
        self, seq_id: int, token_ids: Sequence[int], *, max_cached: int, is_first: bool
    ) -> int:
        if seq_id in self._tables:
            msg = f"sequence {seq_id} is in the cache already"
            raise ValueError(msg)
        table = self._tables[seq_id] = _BlockTable()
        if self._cache is None:
            return 0
        table.entries = self._cache.match(token_ids, max_cached)
        for block in map(self._cache.block_of, table.entries):
            if self._references[block] == 0:
                self._cache.acquire(block)
            self._refer(block)
            table.blocks.append(block)
        table.num_tokens = table.num_computed = len(table.entries) * self.block_size
        if is_first:
            table.uncounted = table.num_computed
        return table.num_computed

    def grow(self, seq_id: int, num_tokens: int) -> bool:
        table = self._tables[seq_id]
        missing = self._num_blocks(num_tokens) - len(table.blocks)
        if missing > 0:
            if missing > len(self._references) - self._num_used:
                return False
            table.blocks.extend(self._take(missing))
        table.num_tokens = max(table.num_tokens, num_tokens)
        self._count_admission(table)
        return True

    def slots(self, seq_id: int, start: int, stop: int) -> Int32Array:
        table = self._tables[seq_id]
        if not 0 <= start <= stop <= table.num_tokens:
            msg = f"sequence {seq_id} has {table.num_tokens} slots, asked for {start}..{stop}"
            raise IndexError(msg)
        size = self.block_size
        if stop - start == 1:  # a decode; small arrays cost more than the arithmetic
            slot = int(table.blocks.values[start // size]) * size + start % size
            return np.array([slot], dtype=np.int32)
        positions = np.arange(start, stop, dtype=np.int32)
        return table.blocks.values[positions // size] * np.int32(size) + positions % size

    def block_table(self, seq_id: int) -> IntVector:
        return self._tables[seq_id].blocks

    def commit(self, seq_id: int, token_ids: Sequence[int], num_computed: int) -> None:
        table = self._tables[seq_id]
        if num_computed > table.num_tokens:
            msg = (
                f"sequence {seq_id} has room for {table.num_tokens} tokens, "
                f"{num_computed} cannot be computed"
            )
            raise ValueError(msg)
        size = self.block_size
        num_full = num_computed // size
        newly_full = num_full > table.num_computed // size
        table.num_computed = num_computed
        if self._cache is None or not newly_full:
            return
        entries = table.entries
        # An entry is another sequence's when both computed the same block; it may be gone by now,
        # and with it all that follow.
        while entries and not self._cache.holds(entries[-1]):
            entries.pop()
        known = len(entries)
        if known < num_full:
            parent = entries[-1] if entries else None
            blocks = table.blocks.values[known:num_full].tolist()
            entries += self._cache.extend(parent, token_ids[known * size : num_full * size], blocks)

    def truncate(self, seq_id: int, num_tokens: int) -> None:
        table = self._tables[seq_id]
        if num_tokens < table.num_computed:
            msg = (
                f"sequence {seq_id} has {table.num_computed} computed tokens, which may be shared; "
                f"it cannot be cut to {num_tokens}"
            )
            raise ValueError(msg)
        keep = self._num_blocks(num_tokens)
        self._release(table.blocks.values[keep:])
        table.blocks.truncate(keep)
        table.num_tokens = min(table.num_tokens, num_tokens)

    def free(self, seq_id: int) -> None:
        self._release(self._tables.pop(seq_id).blocks.values)

    def attention_metadata(
        self, seq_ids: Sequence[int], starts: Sequence[int], context_lens: Sequence[int]
    ) -> AttentionMetadata:
        if self._attention_backend == "csr":
            slots = [
                self.slots(seq_id, 0, length)
                for seq_id, length in zip(seq_ids, context_lens, strict=True)
            ]
            return csr_metadata(slots, starts)
        widths = [self._num_blocks(length) for length in context_lens]
        blocks = [
            self._tables[seq_id].blocks.values[:width]
            for seq_id, width in zip(seq_ids, widths, strict=True)
        ]
        listed = np.concatenate(blocks)
        block_tables = np.empty((len(widths), max(widths)), dtype=np.int32)
        block_tables[:] = listed[np.cumsum(widths) - 1][:, None]
        block_tables[np.arange(max(widths)) < np.array(widths)[:, None]] = listed
        return PagedMetadata(block_tables, self.block_size)

    def stats(self) -> KVStats:
        return KVStats(
            prefix_hits=self._hits,
            prefix_misses=self._misses,
            prefix_saved_tokens=self._saved_tokens,
            evictions=0 if self._cache is None else self._cache.evictions,
            used=self._num_used * self.block_size,
            peak=self._peak * self.block_size,
            capacity=self.capacity_tokens,
        )

    def _num_blocks(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def _take(self, count: int) -> list[int]:
        """Blocks that nobody refers to, and that their new owner refers to from now on."""
        while len(self._free) < count:
            assert self._cache is not None  # every unreferenced block is free or cached
            self._free[:0] = self._cache.evict()
        taken = self._free[-count:]
        del self._free[-count:]
        taken.reverse()
        for block in taken:
            self._references[block] = 1
        self._count_used(count)
        return taken

    def _refer(self, block: int) -> None:
        self._references[block] += 1
        if self._references[block] == 1:
            self._count_used(1)

    def _count_used(self, count: int) -> None:
        self._num_used += count
        self._peak = max(self._peak, self._num_used)

    def _release(self, blocks: Int32Array) -> None:
        # Last block first: the end of a sequence is less likely to be shared than its beginning,
        # and goes first when room is needed.
        for block in reversed(blocks.tolist()):
            self._references[block] -= 1
            if self._references[block] == 0:
                self._num_used -= 1
                if self._cache is None or not self._cache.release(block):
                    self._free.append(block)

    def _count_admission(self, table: _BlockTable) -> None:
        if table.uncounted is None:
            return
        self._hits += table.uncounted > 0
        self._misses += table.uncounted == 0
        self._saved_tokens += table.uncounted
        table.uncounted = None
