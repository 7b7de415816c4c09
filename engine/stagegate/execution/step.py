"""What one step carries to the core and brings back, as plain numpy arrays.

T tokens of B sequences, the tokens of a sequence next to each other; R rows of logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PagedMetadata:
    """Keys are found through block tables i32 [B, W], padded with the last block of the row."""

    block_tables: Int32Array
    block_size: int


@dataclass(frozen=True, slots=True)
class CsrMetadata:
    """Keys are listed per token: used_slots[col_idx[row_ptr[t] : row_ptr[t + 1]]].

    used_slots and col_idx may end in entries of -1 that nobody refers to.
    """

    used_slots: Int32Array  # [U], ascending and unique
    row_ptr: Int32Array  # [T + 1]
    col_idx: Int32Array  # [nnz], indices into used_slots, ascending inside a row


AttentionMetadata = PagedMetadata | CsrMetadata


@dataclass(frozen=True, slots=True)
class SamplingBatch:
    """Sampling parameters of R rows; the meaning of each field is that of SamplingParams.

    history_*: the tokens penalties look at, one list per row of unique ids and how often each was
    generated (0: it is in the prompt only). bias_*: what is added to the logits first, per row.
    """

    parameters: Mapping[str, Int32Array | Float32Array]  # [R] each, by the names of ROW_RANGES
    seed: Int64Array  # [R]
    draw_index: Int64Array  # [R], tokens the sequence has sampled before this one
    history_ptr: Int32Array  # [R + 1]
    history_ids: Int32Array  # [P]
    history_counts: Int32Array  # [P]
    bias_ptr: Int32Array  # [R + 1]
    bias_ids: Int32Array  # [Q]
    bias_values: Float32Array  # [Q]
    mask_index: Int32Array  # [R], the row of mask_bits; -1: every token may be drawn
    mask_bits: Int32Array  # [G, ceil(vocab / 32)],
    # see structured/guide.py; [0, 0] without guided rows
    num_logprobs: int  # -1: no log-probabilities; else how many of the most likely tokens


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
    # [T], which row of the step before draws a token; -1 for one that is in input_ids. [0] when all
    # are there.
    drawn_rows: Int32Array = field(default_factory=lambda: np.empty(0, dtype=np.int32))


@dataclass(frozen=True, slots=True)
class StepOutput:
    token_ids: Int32Array  # [R]
    logprobs: Float32Array | None = None  # [R], of the drawn token
    top_ids: Int32Array | None = None  # [R, N], most likely first
    top_logprobs: Float32Array | None = None  # [R, N]
