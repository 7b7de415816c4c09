"""Which sequence has which row of the device's decode state, and what the device has to be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from stagegate.arrays import Float32Array, Int32Array, Int64Array
from stagegate.execution.sampling_batch import parameter_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagegate.execution.step import ScheduledSequence, SequenceState
    from stagegate.kv.int_vector import IntVector
    from stagegate.kv.manager import KVTables


@dataclass(frozen=True, slots=True)
class RowChanges:
    """What the rows of sequences on the device do not know: see csrc/ops/decode_rows.

    C rows begin: their newest token, the tokens before it that are in the cache, and how they are
    sampled, as in SamplingBatch. A blocks are appended: block_ids[i] is number block_indices[i] in
    the table of row block_rows[i].
    """

    rows: Int32Array  # [C]
    last_token: Int32Array  # [C]
    context_len: Int32Array  # [C]
    parameters: Mapping[str, Int32Array | Float32Array]  # [C] each
    seed: Int64Array  # [C]
    draw_index: Int64Array  # [C]
    block_rows: Int32Array  # [A]
    block_indices: Int32Array  # [A]
    block_ids: Int32Array  # [A]


@dataclass(slots=True)
class _Row:
    """One sequence's row.

    blocks: its table as the KV manager has it; num_sent: how many of these the device has.
    num_computed: tokens with keys and values in the cache after the last step it was part of.
    samples_plainly: the row has all that sampling takes, from the min_tokens-th token on.
    """

    index: int
    blocks: IntVector
    samples_plainly: bool
    min_tokens: int
    num_computed: int
    num_sent: int = 0


@dataclass(slots=True)
class _Changes:
    """What the next step brings: rows that begin, and blocks."""

    starts: list[tuple[_Row, ScheduledSequence]] = field(default_factory=list)
    block_rows: list[Int32Array] = field(default_factory=list)
    block_indices: list[Int32Array] = field(default_factory=list)
    block_ids: list[Int32Array] = field(default_factory=list)

    def append_blocks(self, row: _Row) -> None:
        """The blocks that the device does not have yet."""
        blocks = row.blocks.values
        first, stop = row.num_sent, len(blocks)
        self.block_rows.append(np.full(stop - first, row.index, dtype=np.int32))
        self.block_indices.append(np.arange(first, stop, dtype=np.int32))
        self.block_ids.append(blocks[first:].copy())
        row.num_sent = stop


class DecodeRows:
    """Gives every sequence that samples a row, and keeps it while the sequence goes on.

    A sequence that has ended or gave its memory up loses its row when another needs one. One that
    comes back with other blocks begins its row anew.

    num_rows: of the device, at least the sequences of a step that sample.
    has_tables: whether decodes find their keys by the block tables of the rows.
    """

    def __init__(self, num_rows: int, tables: KVTables, *, has_tables: bool) -> None:
        self._tables = tables
        self._has_tables = has_tables
        self._rows: dict[int, _Row] = {}  # by sequence
        self._free = list(range(num_rows - 1, -1, -1))

    def take_step(
        self, items: Sequence[ScheduledSequence], *, by_tables: bool
    ) -> tuple[Int32Array, RowChanges | None]:
        """Rows of sequences that sample in a step, and what the device has to be told before it.

        by_tables: the step is a decode by the tables of the rows; else it brings all arrays.
        """
        changes = _Changes()
        rows = np.empty(len(items), dtype=np.int32)
        for place, item in enumerate(items):
            row = self._rows.get(item.sequence.seq_id)
            if row is None or not self._goes_on(row, item):
                row = self._begin(item, items)
                changes.starts.append((row, item))
            row.num_computed = item.start + item.num_tokens
            if by_tables and row.num_sent < len(row.blocks):
                changes.append_blocks(row)
            rows[place] = row.index
        return rows, _row_changes(changes)

    def index_of(self, seq_id: int) -> int:
        """The row of a sequence that has one."""
        return self._rows[seq_id].index

    def can_decode(self, items: Sequence[ScheduledSequence]) -> bool:
        """Whether a step can be a decode by the tables of the rows."""
        # One token that samples wants no other logits.
        return self._has_tables and all(item.num_tokens == 1 and item.samples for item in items)

    def sample_plainly(self, items: Sequence[ScheduledSequence]) -> bool:
        """Whether the rows have all that sampling takes; to be asked after `take_step`."""
        for item in items:
            row = self._rows[item.sequence.seq_id]
            held_back = row.min_tokens > 0 and item.num_sampled_before < row.min_tokens
            if held_back or not row.samples_plainly:
                return False
        return True

    def forget(self, items: Sequence[ScheduledSequence]) -> None:
        """A step failed, and nobody knows what the device has of its rows."""
        for item in items:
            row = self._rows.pop(item.sequence.seq_id, None)
            if row is not None:
                self._free.append(row.index)

    def _goes_on(self, row: _Row, item: ScheduledSequence) -> bool:
        """Whether the device has of a row what comes before this step."""
        return (
            row.num_computed == item.start
            and row.blocks is self._tables.block_table(item.sequence.seq_id)
            and row.num_sent <= len(row.blocks)
        )

    def _begin(self, item: ScheduledSequence, items: Sequence[ScheduledSequence]) -> _Row:
        sequence = item.sequence
        before = self._rows.pop(sequence.seq_id, None)
        if before is not None:
            self._free.append(before.index)
        if not self._free:
            self._reclaim(items)
        row = self._rows[sequence.seq_id] = _Row(
            index=self._free.pop(),
            blocks=self._tables.block_table(sequence.seq_id),
            samples_plainly=_samples_plainly(sequence),
            min_tokens=sequence.params.min_tokens,
            num_computed=0,
        )
        return row

    def _reclaim(self, items: Sequence[ScheduledSequence]) -> None:
        """Free the rows of sequences that hold no memory any more.

        Where all do, of those that are not part of the step: the last token of each is in flight.
        """
        here = {item.sequence.seq_id for item in items}
        others = self._rows.keys() - here
        for seq_id in [one for one in others if not self._holds_memory(one)] or others:
            self._free.append(self._rows.pop(seq_id).index)

    def _holds_memory(self, seq_id: int) -> bool:
        try:
            return self._tables.block_table(seq_id) is self._rows[seq_id].blocks
        except KeyError:
            return False


def _samples_plainly(sequence: SequenceState) -> bool:
    """Whether parameters alone say how a sequence is sampled, once it may end."""
    params = sequence.params
    by_lists = (
        sequence.history is not None or sequence.grammar_matcher is not None or params.logit_bias
    )
    return not by_lists and params.logprobs is None


def _row_changes(changes: _Changes) -> RowChanges | None:
    if not changes.starts and not changes.block_ids:
        return None
    starts = changes.starts
    return RowChanges(
        rows=np.array([row.index for row, _ in starts], dtype=np.int32),
        last_token=np.array([_first_token(item) for _, item in starts], dtype=np.int32),
        context_len=np.array([item.start for _, item in starts], dtype=np.int32),
        parameters=parameter_columns([item.sequence.params for _, item in starts]),
        seed=np.array([item.sequence.seed for _, item in starts], dtype=np.int64),
        draw_index=np.array([item.num_sampled_before for _, item in starts], dtype=np.int64),
        block_rows=_joined(changes.block_rows),
        block_indices=_joined(changes.block_indices),
        block_ids=_joined(changes.block_ids),
    )


def _first_token(item: ScheduledSequence) -> int:
    """The token a row begins with: of a decode its input. RuntimeError when nobody knows it."""
    if item.start < len(item.sequence.token_ids):
        return item.sequence.token_ids[item.start]
    msg = (
        f"sequence {item.sequence.seq_id} begins a row at position {item.start}, whose token is "
        "still being sampled"
    )
    raise RuntimeError(msg)


def _joined(arrays: list[Int32Array]) -> Int32Array:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int32)
