"""A scheduled step in the arrays that the core takes.

T tokens of B sequences, the tokens of a sequence next to each other; R rows of logits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from stagegate.execution.sampling_batch import build_sampling_batch
from stagegate.kv.metadata import PagedMetadata

if TYPE_CHECKING:
    from stagegate.arrays import Int32Array
    from stagegate.execution.sampling_batch import SamplingBatch
    from stagegate.execution.step import Decodes, ScheduledStep
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
    return arrange(step, tables, build_sampling_batch(step.sequences))


def arrange(step: ScheduledStep, tables: KVTables, sampling: SamplingBatch | None) -> StepInput:
    """The same, by somebody who knows how its rows of logits are sampled."""
    decodes, chunks = step.decodes, step.chunks
    num_decodes = len(decodes)
    sequences = [*decodes.batch.sequences, *(item.sequence for item in chunks)]
    starts = np.array([*decodes.starts.tolist(), *(item.start for item in chunks)], np.int32)
    counts = np.array([1] * num_decodes + [item.num_tokens for item in chunks], np.int32)
    stops = starts + counts
    cu_seqlens_q = np.zeros(len(sequences) + 1, dtype=np.int32)
    np.cumsum(counts, out=cu_seqlens_q[1:])
    input_ids = _decoded_ids(decodes)
    logits_indices = list(range(num_decodes))
    for item in chunks:
        shift = len(input_ids) - item.start
        logits_indices.extend(range(item.logits.start + shift, item.logits.stop + shift))
        input_ids.extend(item.sequence.token_ids[item.start : item.start + item.num_tokens])
    # The first position of its sequence, less the tokens before it in the step, for every token.
    shifts = np.repeat(starts - cu_seqlens_q[:-1], counts)
    positions = shifts + np.arange(len(input_ids), dtype=np.int32)
    seq_ids = [sequence.seq_id for sequence in sequences]
    attention = tables.attention_metadata(seq_ids, starts.tolist(), stops.tolist())
    if isinstance(attention, PagedMetadata):
        places = np.repeat(np.arange(len(sequences), dtype=np.int32), counts)
        slot_mapping = attention.slots(places, positions)
    else:
        slot_mapping = np.concatenate(
            list(map(tables.slots, seq_ids, starts.tolist(), stops.tolist()))
        )
    return StepInput(
        input_ids=np.array(input_ids, dtype=np.int32),
        positions=positions,
        slot_mapping=slot_mapping,
        cu_seqlens_q=cu_seqlens_q,
        context_lens=stops,
        logits_indices=np.array(logits_indices, dtype=np.int32),
        attention=attention,
        sampling=sampling,
        sampled_rows=_sampled_rows(decodes, len(input_ids)),
    )


def _decoded_ids(decodes: Decodes) -> list[int]:
    """The tokens of decodes; 0 for those that the device fills in."""
    parts = zip(
        decodes.batch.sequences, decodes.starts.tolist(), decodes.sampled_rows.tolist(), strict=True
    )
    return [sequence.token_ids[start] if row < 0 else 0 for sequence, start, row in parts]


def _sampled_rows(decodes: Decodes, num_tokens: int) -> Int32Array:
    """Only decodes have tokens that the step before samples."""
    if (decodes.sampled_rows < 0).all():
        return _NO_ROWS
    sampled_rows = np.full(num_tokens, -1, dtype=np.int32)
    sampled_rows[: len(decodes)] = decodes.sampled_rows
    return sampled_rows
