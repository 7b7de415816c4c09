"""A scheduled step in the arrays that the core takes.

T tokens of B sequences, the tokens of a sequence next to each other; R rows of logits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from stagegate.execution.sampling_batch import build_sampling_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagegate.arrays import Int32Array
    from stagegate.execution.sampling_batch import SamplingBatch
    from stagegate.execution.step import ScheduledSequence, ScheduledStep
    from stagegate.kv.manager import KVTables
    from stagegate.kv.metadata import AttentionMetadata

_NO_ROWS: Int32Array = np.empty(0, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class StepInput:
    input_ids: Int32Array  # [T]
    positions: Int32Array  # [T]
    slot_mapping: Int32Array  # [T], the cache slot each token's keys and values go to
    cu_seqlens_q: Int32Array  # [B + 1], first token of each sequence
    context_lens: Int32Array  # [B], tokens of each sequence including this step's
    logits_indices: Int32Array  # [R], the tokens whose logits are wanted
    attention: AttentionMetadata
    sampling: SamplingBatch | None
    # [T], which row of the step before samples a token; -1 for one that is in input_ids. [0] when
    # all are there.
    sampled_rows: Int32Array = field(default_factory=lambda: _NO_ROWS)


def build_step_input(step: ScheduledStep, tables: KVTables) -> StepInput:
    """Input of a step with at least one sequence."""
    scheduled = step.sequences
    seq_ids = [item.sequence.seq_id for item in scheduled]
    starts = [item.start for item in scheduled]
    stops = [item.start + item.num_tokens for item in scheduled]
    cu_seqlens_q = np.cumsum([0, *(item.num_tokens for item in scheduled)], dtype=np.int32)
    input_ids: list[int] = []
    logits_indices: list[int] = []
    for item, start, stop in zip(scheduled, starts, stops, strict=True):
        shift = len(input_ids) - start
        logits_indices.extend(range(item.logits.start + shift, item.logits.stop + shift))
        input_ids.extend(item.sequence.token_ids[start:stop])
        if item.sampled_row >= 0:
            input_ids.append(0)  # the device fills it in
    # The first position of its sequence, less the tokens before it in the step, for every token.
    shifts = np.repeat(np.array(starts, dtype=np.int32) - cu_seqlens_q[:-1], np.diff(cu_seqlens_q))
    return StepInput(
        input_ids=np.array(input_ids, dtype=np.int32),
        positions=shifts + np.arange(len(input_ids), dtype=np.int32),
        slot_mapping=np.concatenate(list(map(tables.slots, seq_ids, starts, stops))),
        cu_seqlens_q=cu_seqlens_q,
        context_lens=np.array(stops, dtype=np.int32),
        logits_indices=np.array(logits_indices, dtype=np.int32),
        attention=tables.attention_metadata(seq_ids, starts, stops),
        sampling=build_sampling_batch(scheduled),
        sampled_rows=_sampled_rows(scheduled, cu_seqlens_q),
    )


def _sampled_rows(scheduled: Sequence[ScheduledSequence], cu_seqlens_q: Int32Array) -> Int32Array:
    """A token that the step before samples is the last of its sequence."""
    rows = np.array([item.sampled_row for item in scheduled], dtype=np.int32)
    if (rows < 0).all():
        return _NO_ROWS
    sampled_rows = np.full(cu_seqlens_q[-1], -1, dtype=np.int32)
    sampled_rows[cu_seqlens_q[1:] - 1] = rows
    return sampled_rows
