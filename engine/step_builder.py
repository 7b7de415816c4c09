"""A scheduled step in the arrays the core takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from engine.step import SamplingBatch, StepInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.kv.manager import KVManager
    from engine.scheduler import ScheduledStep
    from engine.sequence import Sequence
    from engine.step import Int32Array


def build_step_input(step: ScheduledStep, kv: KVManager) -> StepInput:
    """Input of a step with at least one sequence.

    The rows of logits are the last tokens of the sequences that sample, in the order of the step.
    """
    scheduled = step.sequences
    seq_ids = [item.sequence.seq_id for item in scheduled]
    starts = [item.start for item in scheduled]
    stops = [item.start + item.num_tokens for item in scheduled]
    input_ids: list[int] = []
    for item, start, stop in zip(scheduled, starts, stops, strict=True):
        input_ids.extend(item.sequence.token_ids[start:stop])
    spans = list(zip(seq_ids, starts, stops, strict=True))
    cu_seqlens_q = _offsets(item.num_tokens for item in scheduled)
    samples = np.array([item.samples for item in scheduled], dtype=np.bool_)
    sampled = [item.sequence for item in scheduled if item.samples]
    return StepInput(
        input_ids=np.array(input_ids, dtype=np.int32),
        positions=np.concatenate(
            [np.arange(start, stop, dtype=np.int32) for _, start, stop in spans]
        ),
        slot_mapping=np.concatenate([kv.slots(*span) for span in spans]),
        cu_seqlens_q=cu_seqlens_q,
        context_lens=np.array(stops, dtype=np.int32),
        logits_indices=cu_seqlens_q[1:][samples] - np.int32(1),
        attention=kv.attention_metadata(seq_ids, starts, stops),
        sampling=build_sampling_batch(sampled) if sampled else None,
    )


def build_sampling_batch(sequences: list[Sequence]) -> SamplingBatch:
    """One row for the next token of each sequence."""
    params = [sequence.params for sequence in sequences]
    histories = [sequence.history for sequence in sequences]
    biases = [_bias(sequence) for sequence in sequences]

    def column(name: str) -> list[float]:
        return [getattr(row, name) for row in params]

    return SamplingBatch(
        temperature=np.array(column("temperature"), dtype=np.float32),
        top_k=np.array(column("top_k"), dtype=np.int32),
        top_p=np.array(column("top_p"), dtype=np.float32),
        min_p=np.array(column("min_p"), dtype=np.float32),
        repetition_penalty=np.array(column("repetition_penalty"), dtype=np.float32),
        presence_penalty=np.array(column("presence_penalty"), dtype=np.float32),
        frequency_penalty=np.array(column("frequency_penalty"), dtype=np.float32),
        seed=np.array([sequence.seed for sequence in sequences], dtype=np.int64),
        draw_index=np.array([sequence.num_output_tokens for sequence in sequences], dtype=np.int64),
        history_ptr=_offsets(0 if row is None else len(row.ids) for row in histories),
        history_ids=_joined(row.ids for row in histories if row is not None),
        history_counts=_joined(row.counts for row in histories if row is not None),
        bias_ptr=_offsets(len(row) for row in biases),
        bias_ids=np.array([token_id for row in biases for token_id in row], dtype=np.int32),
        bias_values=np.array([value for row in biases for value in row.values()], dtype=np.float32),
        num_logprobs=max(-1 if row.logprobs is None else row.logprobs for row in params),
    )


def _bias(sequence: Sequence) -> dict[int, float]:
    """What is added to the logits of a row: the caller's bias; -inf on ends that come too early."""
    bias = dict(sequence.params.logit_bias)
    if not sequence.may_stop:
        for token_id in (*sorted(sequence.eos_token_ids), *sequence.params.stop_token_ids):
            bias[token_id] = -math.inf
    return bias


def _offsets(lengths: Iterable[int]) -> Int32Array:
    return np.cumsum([0, *lengths], dtype=np.int32)


def _joined(arrays: Iterable[Int32Array]) -> Int32Array:
    return np.concatenate([np.empty(0, dtype=np.int32), *arrays])
