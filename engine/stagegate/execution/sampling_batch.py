"""The sampling parameters of a step's rows of logits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import numpy as np

from stagegate.arrays import Float32Array, Int32Array, Int64Array
from stagegate.sampling import ROW_RANGES, SamplingParams

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from stagegate.execution.step import ScheduledSequence, SequenceState

# More than any logit, and finite, as the core wants a bias to be.
_CERTAIN: Final = 1e30
_GREEDY: Final = SamplingParams(temperature=0.0)
_NO_MASK: Final[Int32Array] = np.empty((0, 0), dtype=np.int32)


@dataclass(frozen=True, slots=True)
class SamplingBatch:
    """Sampling parameters of R rows; the meaning of each field is that of SamplingParams.

    bias_*: what is added to the logits first, per row. The tokens that penalties look at are in the
    rows of the device; see DecodeRows.
    """

    parameters: Mapping[str, Int32Array | Float32Array]  # [R] each, by the names of ROW_RANGES
    seed: Int64Array  # [R]
    draw_index: Int64Array  # [R], tokens the sequence has sampled before this one
    bias_ptr: Int32Array  # [R + 1]
    bias_ids: Int32Array  # [Q]
    bias_values: Float32Array  # [Q]
    mask_index: Int32Array  # [R], the row of mask_bits; -1: every token may be sampled
    mask_bits: Int32Array  # [G, ceil(vocab / 32)], as GrammarMatcher.allowed, or [0, 0]
    num_logprobs: int  # -1: no log-probabilities; else how many of the most likely tokens


def plain_batch(
    parameters: Mapping[str, Int32Array | Float32Array], seed: Int64Array, draw_index: Int64Array
) -> SamplingBatch:
    """Rows that parameters alone say how to sample: no lists, no mask, no log-probabilities."""
    none = np.empty(0, dtype=np.int32)
    offsets = np.zeros(len(seed) + 1, dtype=np.int32)
    return SamplingBatch(
        parameters=parameters,
        seed=seed,
        draw_index=draw_index,
        bias_ptr=offsets,
        bias_ids=none,
        bias_values=np.empty(0, dtype=np.float32),
        mask_index=np.full(len(seed), -1, dtype=np.int32),
        mask_bits=_NO_MASK,
        num_logprobs=-1,
    )


def behind_plain(plain: SamplingBatch, other: SamplingBatch) -> SamplingBatch:
    """The rows of a batch behind those of a `plain_batch`."""
    none = plain.bias_ptr[:-1]  # of lists, as many offsets as there are plain rows
    names = plain.parameters
    return replace(
        other,
        parameters={
            name: np.concatenate([plain.parameters[name], other.parameters[name]]) for name in names
        },
        seed=np.concatenate([plain.seed, other.seed]),
        draw_index=np.concatenate([plain.draw_index, other.draw_index]),
        bias_ptr=np.concatenate([none, other.bias_ptr]),
        mask_index=np.concatenate([plain.mask_index, other.mask_index]),
    )


# Parameters, seed, draw index, bias, allowed tokens and number of log-probabilities of a row; a
# plain tuple, for it is made for every token that is sampled.
_Row = tuple[SamplingParams, int, int, Mapping[int, float], "Int32Array | None", int]


def build_sampling_batch(items: Sequence[ScheduledSequence]) -> SamplingBatch | None:
    """One row for each of the logits that are wanted, in the order of the sequences; None for none.

    The core reports the log-probability of the token it samples, by the logits as they were before
    bias. So a row for a prompt token is greedy, with a bias that leaves nothing else to sample.
    """
    rows: list[_Row] = []
    for item in items:
        if item.num_prompt_rows:
            rows.extend(_prompt_rows(item))
        if item.samples:
            rows.append(_sampled_row(item))
    if not rows:
        return None
    params, seeds, draws, biases, allowed, num_logprobs = zip(*rows, strict=True)
    masks = [bits for bits in allowed if bits is not None]
    return SamplingBatch(
        parameters=parameter_columns(params),
        seed=np.array(seeds, dtype=np.int64),
        draw_index=np.array(draws, dtype=np.int64),
        bias_ptr=_offsets(map(len, biases)),
        bias_ids=np.array([token_id for row in biases for token_id in row], dtype=np.int32),
        bias_values=np.array([value for row in biases for value in row.values()], dtype=np.float32),
        mask_index=_mask_index(allowed) if masks else np.full(len(rows), -1, dtype=np.int32),
        mask_bits=np.stack(masks) if masks else _NO_MASK,
        num_logprobs=max(num_logprobs),
    )


def _prompt_rows(item: ScheduledSequence) -> Iterator[_Row]:
    sequence = item.sequence
    for position in item.logits[: item.num_prompt_rows]:
        certain = {sequence.token_ids[position + 1]: _CERTAIN}
        yield _GREEDY, 0, 0, certain, None, sequence.params.prompt_logprobs or 0


def _sampled_row(item: ScheduledSequence) -> _Row:
    sequence, num_before = item.sequence, item.num_sampled_before
    params, matcher = sequence.params, sequence.grammar_matcher
    is_plain = matcher is None and num_before >= params.min_tokens
    return (
        params,
        sequence.seed,
        num_before,
        params.logit_bias
        if is_plain
        else _bias(sequence, may_stop=num_before >= params.min_tokens),
        None if matcher is None else matcher.allowed,
        -1 if params.logprobs is None else params.logprobs,
    )


def _bias(sequence: SequenceState, *, may_stop: bool) -> Mapping[int, float]:
    """What is added to the logits of a row: the caller's bias; -inf on ends that come too early."""
    params, matcher = sequence.params, sequence.grammar_matcher
    bias = dict(params.logit_bias)
    if matcher is None and not may_stop:
        for token_id in (*sorted(sequence.eos_token_ids), *params.stop_token_ids):
            bias[token_id] = -math.inf
    # A text that completes its grammar can only end, and a token it needs may be a stop token.
    goes_on = params.ignore_eos or not may_stop
    if matcher is not None and not matcher.finished and goes_on:
        bias |= dict.fromkeys(sorted(sequence.eos_token_ids), -math.inf)
    return bias


def _mask_index(allowed: Iterable[Int32Array | None]) -> Int32Array:
    has_mask = [bits is not None for bits in allowed]
    return np.where(has_mask, np.cumsum(has_mask) - 1, -1).astype(np.int32)


def parameter_columns(params: Sequence[SamplingParams]) -> dict[str, Int32Array | Float32Array]:
    """By name, one value for each row in the dtype that the core takes."""
    return {name: _column(name, params) for name in ROW_RANGES}


def _column(name: str, params: Sequence[SamplingParams]) -> Int32Array | Float32Array:
    values = list(map(attrgetter(name), params))
    if ROW_RANGES[name].integer:
        return np.array(values, dtype=np.int32)
    return np.array(values, dtype=np.float32)


def _offsets(lengths: Iterable[int]) -> Int32Array:
    return np.cumsum([0, *lengths], dtype=np.int32)
