"""What a step sends to the core: a decode its rows alone, any other step arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stagegate.execution.decode_rows import DecodeRows
from stagegate.execution.input_batch import arrange
from stagegate.execution.sampling_batch import behind_plain, build_sampling_batch

if TYPE_CHECKING:
    from stagegate.arrays import Int32Array
    from stagegate.execution.decode_rows import RowChanges
    from stagegate.execution.input_batch import StepInput
    from stagegate.execution.sampling_batch import SamplingBatch
    from stagegate.execution.step import ScheduledStep
    from stagegate.kv.manager import KVTables


@dataclass(frozen=True, slots=True)
class DecodeInput:
    """A step of one token each of sequences that have rows.

    sampling: one row for each, where one needs more than its row on the device has; else None.
    """

    rows: Int32Array  # [B]
    changes: RowChanges | None
    sampling: SamplingBatch | None


@dataclass(frozen=True, slots=True)
class ArrayInput:
    """Any step: T tokens, R rows of logits. Arrays are empty where a step has no use for them."""

    arrays: StepInput
    changes: RowChanges | None
    token_rows: Int32Array  # [T], the row that sampled the token last; -1: it is in input_ids
    sample_rows: Int32Array  # [R], the row that takes what is sampled; -1: none
    sample_lens: Int32Array  # [R], tokens of that row in the cache after the step


class StepInputs:
    """Builds the inputs of steps, one after the other, and knows what the device knows by then.

    num_rows: sequences that may sample in one step. has_tables: whether decodes find their keys by
    the block tables of the rows.
    """

    def __init__(self, tables: KVTables, *, num_rows: int, has_tables: bool) -> None:
        self._tables = tables
        self._rows = DecodeRows(num_rows, tables, has_tables=has_tables)

    def build(self, step: ScheduledStep) -> DecodeInput | ArrayInput:
        """Input of a step with at least one sequence, to be submitted before the next is built."""
        if self._rows.can_decode(step):
            return self._build_decode(step)
        return self._build_arrays(step)

    def forget(self, step: ScheduledStep) -> None:
        """The step could not be started: what the device has of its sequences is not known."""
        self._rows.forget(step)

    def _build_decode(self, step: ScheduledStep) -> DecodeInput:
        rows, changes = self._rows.take_step(step, by_tables=True)
        plain = self._rows.sample_plainly(rows)
        return DecodeInput(rows, changes, None if plain else build_sampling_batch(step.sequences))

    def _build_arrays(self, step: ScheduledStep) -> ArrayInput:
        rows, changes = self._rows.take_step(step, by_tables=False)
        num_decodes = len(step.decodes)
        arrays = arrange(step, self._tables, self._sampling(step, rows[:num_decodes]))
        samples = np.ones(len(arrays.context_lens), dtype=np.bool_)
        samples[num_decodes:] = [item.samples for item in step.chunks]
        sample_rows = np.full(len(arrays.logits_indices), -1, dtype=np.int32)
        sample_lens = np.zeros(len(arrays.logits_indices), dtype=np.int32)
        last_rows = step.row_ptr[1:][samples] - 1  # those before are of the prompt
        sample_rows[last_rows] = rows
        sample_lens[last_rows] = arrays.context_lens[samples]
        token_rows = arrays.sampled_rows.copy()
        if token_rows.size:  # only a decode's token may still be being sampled
            pending = token_rows[:num_decodes] >= 0
            token_rows[:num_decodes][pending] = rows[:num_decodes][pending]
        return ArrayInput(arrays, changes, token_rows, sample_rows, sample_lens)

    def _sampling(self, step: ScheduledStep, decode_rows: Int32Array) -> SamplingBatch | None:
        """As of all sequences one by one; where they can, decodes tell it as columns."""
        if not (len(decode_rows) and self._rows.sample_plainly(decode_rows)):
            return build_sampling_batch(step.sequences)
        plain = self._rows.sampling_of(decode_rows)
        others = build_sampling_batch(step.chunks)
        return plain if others is None else behind_plain(plain, others)
