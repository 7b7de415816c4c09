"""A scheduled step in the arrays the core takes."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from stagegate.execution.step import SamplingBatch, StepInput
from stagegate.sampling import DEFAULTS, ROW_RANGES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stagegate.core.scheduler import ScheduledSequence, ScheduledStep
    from stagegate.execution.step import Float32Array, Int32Array
    from stagegate.kv.manager import KVManager

# More than any logit, and finite, as the core wants a bias to be.
_CERTAIN = 1e30
# What a row that is scored asks for; the rest is off.
_SCORED: Final = {"temperature": 0.0}
_NO_MASK: Int32Array = np.empty((0, 0), dtype=np.int32)


def build_step_input(step: ScheduledStep, kv: KVManager) -> StepInput:
    """Input of a step with at least one sequence.

    The rows of logits are the last tokens of the sequences that sample, in the order of the step,
    then the scored positions, in that order too.
    """
    scheduled = step.sequences
    seq_ids = [item.sequence.seq_id for item in scheduled]
    starts = [item.start for item in scheduled]
    stops = [item.start + item.num_tokens for item in scheduled]
    input_ids: list[int] = []
    for item, start, stop in zip(scheduled, starts, stops, strict=True):
        input_ids.extend(item.sequence.token_ids[start:stop])
        if item.drawn_row >= 0:
            input_ids.append(0)  # the device fills it in
    cu_seqlens_q = _offsets(item.num_tokens for item in scheduled)
    # The first position of its sequence, less the tokens before it in the step, for every token.
    shifts = np.repeat(np.array(starts, dtype=np.int32) - cu_seqlens_q[:-1], np.diff(cu_seqlens_q))
    samples = np.array([item.samples for item in scheduled], dtype=np.bool_)
    scored = [
        np.arange(item.scored.start, item.scored.stop, dtype=np.int32)
        - np.int32(item.start)
        + first
        for first, item in zip(cu_seqlens_q, scheduled, strict=False)
        if item.scored
    ]
    return StepInput(
        input_ids=np.array(input_ids, dtype=np.int32),
        positions=shifts + np.arange(len(input_ids), dtype=np.int32),
        slot_mapping=np.concatenate(list(map(kv.slots, seq_ids, starts, stops))),
        cu_seqlens_q=cu_seqlens_q,
        context_lens=np.array(stops, dtype=np.int32),
        logits_indices=np.concatenate([cu_seqlens_q[1:][samples] - np.int32(1), *scored]),
        attention=kv.attention_metadata(seq_ids, starts, stops),
        sampling=_sampling(step),
        drawn_rows=_drawn_rows(step, cu_seqlens_q),
    )


def _drawn_rows(step: ScheduledStep, cu_seqlens_q: Int32Array) -> Int32Array:
    """A token that the step before draws is the last of its sequence."""
    rows = np.array([item.drawn_row for item in step.sequences], dtype=np.int32)
    if (rows < 0).all():
        return np.empty(0, dtype=np.int32)
    drawn_rows = np.full(cu_seqlens_q[-1], -1, dtype=np.int32)
    drawn_rows[cu_seqlens_q[1:] - 1] = rows
    return drawn_rows


def _sampling(step: ScheduledStep) -> SamplingBatch | None:
    scored = [item for item in step.sequences if item.scored]
    if not scored:
        return _draws(step) if step.num_samples else None
    scores = build_score_batch(
        [item.sequence.token_ids[position + 1] for item in scored for position in item.scored],
        num_logprobs=max(item.sequence.params.prompt_logprobs or 0 for item in scored),
    )
    return _stacked(_draws(step), scores) if step.num_samples else scores


def _draws(step: ScheduledStep) -> SamplingBatch:
    return build_sampling_batch([item for item in step.sequences if item.samples])


def build_score_batch(token_ids: list[int], *, num_logprobs: int) -> SamplingBatch:
    """One row for each token whose log-probability is asked for.

    The core reports the log-probability of the token it draws, by the logits as they were before
    bias. So each row is greedy, with a bias that leaves nothing else to draw.
    """
    count = len(token_ids)
    no_history = np.empty(0, dtype=np.int32)
    return SamplingBatch(
        parameters={
            name: _column(name, [_SCORED.get(name, DEFAULTS[name])] * count) for name in ROW_RANGES
        },
        seed=np.zeros(count, dtype=np.int64),
        draw_index=np.zeros(count, dtype=np.int64),
        history_ptr=np.zeros(count + 1, dtype=np.int32),
        history_ids=no_history,
        history_counts=no_history,
        bias_ptr=np.arange(count + 1, dtype=np.int32),
        bias_ids=np.array(token_ids, dtype=np.int32),
        bias_values=np.full(count, _CERTAIN, dtype=np.float32),
        mask_index=np.full(count, -1, dtype=np.int32),
        mask_bits=_NO_MASK,
        num_logprobs=num_logprobs,
    )


def _stacked(first: SamplingBatch, second: SamplingBatch) -> SamplingBatch:
    """The rows of one batch, then those of another without masks."""
    columns: dict[str, Any] = {}
    for column in fields(SamplingBatch):
        above, below = getattr(first, column.name), getattr(second, column.name)
        if column.name == "num_logprobs":
            columns[column.name] = max(above, below)
        elif column.name == "parameters":
            columns[column.name] = {
                name: np.concatenate([values, below[name]]) for name, values in above.items()
            }
        elif column.name == "mask_bits":
            columns[column.name] = above  # scored rows have none
        elif column.name.endswith("_ptr"):
            columns[column.name] = np.concatenate([above, below[1:] + above[-1]])
        else:
            columns[column.name] = np.concatenate([above, below])
    return SamplingBatch(**columns)


def build_sampling_batch(items: list[ScheduledSequence]) -> SamplingBatch:
    """One row for the token that is sampled for each of them."""
    sequences = [item.sequence for item in items]
    params = [sequence.params for sequence in sequences]
    histories = [sequence.history for sequence in sequences]
    biases = [_bias(item) for item in items]
    guided = [sequence.guide is not None for sequence in sequences]
    masks = [sequence.guide.allowed for sequence in sequences if sequence.guide is not None]

    return SamplingBatch(
        parameters={
            name: _column(name, [getattr(row, name) for row in params]) for name in ROW_RANGES
        },
        seed=np.array([sequence.seed for sequence in sequences], dtype=np.int64),
        draw_index=np.array([item.num_drawn_before for item in items], dtype=np.int64),
        history_ptr=_offsets(0 if row is None else len(row.ids) for row in histories),
        history_ids=_joined(row.ids for row in histories if row is not None),
        history_counts=_joined(row.counts for row in histories if row is not None),
        bias_ptr=_offsets(len(row) for row in biases),
        bias_ids=np.array([token_id for row in biases for token_id in row], dtype=np.int32),
        bias_values=np.array([value for row in biases for value in row.values()], dtype=np.float32),
        mask_index=np.where(guided, np.cumsum(guided) - 1, -1).astype(np.int32),
        mask_bits=np.stack(masks) if masks else _NO_MASK,
        num_logprobs=max(-1 if row.logprobs is None else row.logprobs for row in params),
    )


def _column(name: str, values: list[float]) -> Int32Array | Float32Array:
    """One value for each row, in the dtype that the core takes."""
    if ROW_RANGES[name].integer:
        return np.array(values, dtype=np.int32)
    return np.array(values, dtype=np.float32)


def _bias(item: ScheduledSequence) -> dict[int, float]:
    """What is added to the logits of a row: the caller's bias; -inf on ends that come too early."""
    sequence = item.sequence
    bias = dict(sequence.params.logit_bias)
    guide = sequence.guide
    may_stop = item.num_drawn_before >= sequence.params.min_tokens
    if guide is None and not may_stop:
        for token_id in (*sorted(sequence.eos_token_ids), *sequence.params.stop_token_ids):
            bias[token_id] = -math.inf
    # A guided text that is complete can only end, and a token it needs may be a stop token.
    goes_on = sequence.params.ignore_eos or not may_stop
    if guide is not None and not guide.finished and goes_on:
        bias |= dict.fromkeys(sorted(sequence.eos_token_ids), -math.inf)
    return bias


def _offsets(lengths: Iterable[int]) -> Int32Array:
    return np.cumsum([0, *lengths], dtype=np.int32)


def _joined(arrays: Iterable[Int32Array]) -> Int32Array:
    return np.concatenate([np.empty(0, dtype=np.int32), *arrays])
