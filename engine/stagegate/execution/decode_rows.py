"""Which sequence has which row of the device's decode state, and what the device has to be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stagegate.arrays import Float32Array, Int32Array, Int64Array
from stagegate.execution.sampling_batch import parameter_columns, plain_batch
from stagegate.sampling import SamplingParams

if TYPE_CHECKING:
    from stagegate.execution.sampling_batch import SamplingBatch
    from stagegate.execution.step import DecodeBatch, Decodes, ScheduledStep, SequenceState
    from stagegate.kv.int_vector import IntVector
    from stagegate.kv.manager import KVTables

_NEVER = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class RowChanges:
    """What the rows of sequences on the device do not know: see csrc/ops/decode_rows.

    C rows begin: their newest token, the tokens before it that are in the cache, and how they are
    sampled, as in SamplingBatch. Row i brings its tokens as tokens[token_ptr[i] : token_ptr[i + 1]]
    if it has a penalty, which looks at them; else none. A blocks are appended: block_ids[i] is
    number block_indices[i] in the table of row block_rows[i].
    """

    rows: Int32Array  # [C]
    last_token: Int32Array  # [C]
    context_len: Int32Array  # [C]
    prompt_len: Int32Array  # [C]
    token_ptr: Int32Array  # [C + 1]
    tokens: Int32Array  # [N]
    parameters: Mapping[str, Int32Array | Float32Array]  # [C] each
    seed: Int64Array  # [C]
    draw_index: Int64Array  # [C]
    block_rows: Int32Array  # [A]
    block_indices: Int32Array  # [A]
    block_ids: Int32Array  # [A]


class _Start(NamedTuple):
    """A row that begins: the tokens before it, and how many of them were sampled."""

    row: int
    sequence: SequenceState
    context_len: int
    num_sampled_before: int

    @property
    def tokens(self) -> list[int]:
        """What penalties look at when the first token is sampled."""
        sequence = self.sequence
        if not sequence.params.has_penalty:
            return []
        return sequence.token_ids[: sequence.num_prompt_tokens + self.num_sampled_before]


@dataclass(slots=True)
class _Changes:
    """What a step brings: rows that begin, and blocks.

    num_computed: by row, tokens with keys and values before the step.
    """

    step: ScheduledStep
    num_computed: list[int]
    starts: list[_Start] = field(default_factory=list)
    block_rows: list[int] = field(default_factory=list)
    block_indices: list[int] = field(default_factory=list)
    block_ids: list[int] = field(default_factory=list)


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
        self._rows: dict[int, int] = {}  # by sequence
        self._free = list(range(num_rows - 1, -1, -1))
        # By row: tokens with keys and values after the last step that it was part of; its table, as
        # the KV manager has it, and how many blocks of it the device has; from which position on it
        # has all that sampling takes.
        self._num_computed = np.zeros(num_rows, dtype=np.int32)
        self._blocks: list[IntVector | None] = [None] * num_rows
        self._num_sent = np.zeros(num_rows, dtype=np.int32)
        self._plain_from = np.zeros(num_rows, dtype=np.int32)
        # What the device was told of their sampling when they began.
        self._parameters = parameter_columns([SamplingParams()] * num_rows)
        self._seed = np.zeros(num_rows, dtype=np.int64)
        self._num_prompt_tokens = np.zeros(num_rows, dtype=np.int64)
        # The decodes of the last step, and their rows.
        self._batch: DecodeBatch | None = None
        self._batch_rows = np.empty(0, dtype=np.int32)

    def take_step(
        self, step: ScheduledStep, *, by_tables: bool
    ) -> tuple[Int32Array, RowChanges | None]:
        """Rows of the sequences that sample in a step, in its order, and what the device has to be
        told before it.

        by_tables: the step is a decode by the tables of the rows; else it brings all arrays.
        """
        changes = _Changes(step, self._num_computed.tolist())
        decodes = step.decodes
        if decodes.batch is not self._batch:
            self._batch_rows = self._rows_of_batch(decodes, changes)
            self._batch = decodes.batch
        rows = self._batch_rows
        self._num_computed[rows] = decodes.starts + 1
        chunks = [item for item in step.chunks if item.samples]
        if chunks:
            of_chunks = [
                self._row_of(item.sequence, item.start, item.num_tokens, changes) for item in chunks
            ]
            rows = np.array([*rows.tolist(), *of_chunks], dtype=np.int32)
            stops = [item.start + item.num_tokens for item in chunks]
            self._num_computed[of_chunks] = stops
        if by_tables:
            has_all = self._num_sent[rows] * self._tables.block_size >= self._num_computed[rows]
            for row in rows[~has_all].tolist():
                self._append_blocks(row, changes)
        return rows, self._row_changes(changes)

    def can_decode(self, step: ScheduledStep) -> bool:
        """Whether a step can be a decode by the tables of the rows."""
        # One token that samples wants no other logits.
        return self._has_tables and all(
            item.num_tokens == 1 and item.samples for item in step.chunks
        )

    def sample_plainly(self, rows: Int32Array) -> bool:
        """Whether rows of a decode have all that sampling takes; to be asked after `take_step`."""
        return bool((self._num_computed[rows] > self._plain_from[rows]).all())

    def sampling_of(self, rows: Int32Array) -> SamplingBatch:
        """How the rows of decodes are sampled that `sample_plainly`."""
        parameters = {name: column[rows] for name, column in self._parameters.items()}
        draw_index = self._num_computed[rows] - self._num_prompt_tokens[rows]
        return plain_batch(parameters, self._seed[rows], draw_index)

    def forget(self, step: ScheduledStep) -> None:
        """A step failed, and nobody knows what the device has of its rows."""
        self._batch = None
        for item in step.sequences:
            self._drop(item.sequence.seq_id)

    def _rows_of_batch(self, decodes: Decodes, changes: _Changes) -> Int32Array:
        sequences, starts = decodes.batch.sequences, decodes.starts.tolist()
        rows = [
            self._row_of(sequence, start, 1, changes)
            for sequence, start in zip(sequences, starts, strict=True)
        ]
        return np.array(rows, dtype=np.int32)

    def _row_of(
        self, sequence: SequenceState, start: int, num_tokens: int, changes: _Changes
    ) -> int:
        """The row of a sequence that goes on from `start`.

        A new one when its own has not come there, or in other blocks.
        """
        row = self._rows.get(sequence.seq_id)
        blocks = self._tables.block_table(sequence.seq_id)
        if row is not None and changes.num_computed[row] == start and self._blocks[row] is blocks:
            return row
        self._drop(sequence.seq_id)
        if not self._free:
            self._reclaim(changes.step)
        row = self._rows[sequence.seq_id] = self._free.pop()
        self._blocks[row] = blocks
        self._num_sent[row] = 0
        self._plain_from[row] = _plain_from(sequence)
        num_sampled_before = start + num_tokens - sequence.num_prompt_tokens
        changes.starts.append(_Start(row, sequence, start, num_sampled_before))
        return row

    def _append_blocks(self, row: int, changes: _Changes) -> None:
        """The blocks that the device does not have yet."""
        table = self._blocks[row]
        assert table is not None
        first, stop = int(self._num_sent[row]), len(table)
        changes.block_rows += [row] * (stop - first)
        changes.block_indices += range(first, stop)
        changes.block_ids += table.values[first:].tolist()
        self._num_sent[row] = stop

    def _row_changes(self, changes: _Changes) -> RowChanges | None:
        starts = changes.starts
        if not starts and not changes.block_ids:
            return None
        rows = np.array([one.row for one in starts], dtype=np.int32)
        parameters = parameter_columns([one.sequence.params for one in starts])
        for name, values in parameters.items():
            self._parameters[name][rows] = values
        self._seed[rows] = seed = np.array([one.sequence.seed for one in starts], dtype=np.int64)
        prompt_lens = [one.sequence.num_prompt_tokens for one in starts]
        self._num_prompt_tokens[rows] = prompt_lens
        tokens = [one.tokens for one in starts]
        return RowChanges(
            rows=rows,
            last_token=np.array([_first_token(one) for one in starts], dtype=np.int32),
            context_len=np.array([one.context_len for one in starts], dtype=np.int32),
            prompt_len=np.array(prompt_lens, dtype=np.int32),
            token_ptr=np.cumsum([0, *map(len, tokens)], dtype=np.int32),
            tokens=np.array(list(chain.from_iterable(tokens)), dtype=np.int32),
            parameters=parameters,
            seed=seed,
            draw_index=np.array([one.num_sampled_before for one in starts], dtype=np.int64),
            block_rows=np.array(changes.block_rows, dtype=np.int32),
            block_indices=np.array(changes.block_indices, dtype=np.int32),
            block_ids=np.array(changes.block_ids, dtype=np.int32),
        )

    def _drop(self, seq_id: int) -> None:
        row = self._rows.pop(seq_id, None)
        if row is not None:
            self._blocks[row] = None
            self._free.append(row)

    def _reclaim(self, step: ScheduledStep) -> None:
        """Free the rows of sequences that hold no memory any more.

        Where all do, of those that are not part of the step: the last token of each is in flight.
        """
        others = self._rows.keys() - {item.sequence.seq_id for item in step.sequences}
        for seq_id in [one for one in others if not self._holds_memory(one)] or others:
            self._drop(seq_id)

    def _holds_memory(self, seq_id: int) -> bool:
        try:
            return self._tables.block_table(seq_id) is self._blocks[self._rows[seq_id]]
        except KeyError:
            return False


def _plain_from(sequence: SequenceState) -> int:
    """From which position on parameters alone say how a sequence is sampled: once it may end."""
    params = sequence.params
    by_lists = sequence.grammar_matcher is not None or params.logit_bias
    if by_lists or params.logprobs is not None:
        return _NEVER
    return min(sequence.num_prompt_tokens + params.min_tokens - 1, _NEVER)


def _first_token(start: _Start) -> int:
    """The token a row begins with: of a decode its input. RuntimeError when nobody knows it."""
    token_ids = start.sequence.token_ids
    if start.context_len < len(token_ids):
        return token_ids[start.context_len]
    msg = (
        f"sequence {start.sequence.seq_id} begins a row at position {start.context_len}, whose "
        "token is still being sampled"
    )
    raise RuntimeError(msg)
