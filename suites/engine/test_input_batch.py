"""The arrays of a step, and the sampling parameters of its rows."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from stagegate.arrays import Float32Array, Int32Array
from stagegate.core.sequence import Sequence, SequenceStatus
from stagegate.errors import InvalidRequestError
from stagegate.execution.input_batch import build_step_input
from stagegate.execution.sampling_batch import SamplingBatch, build_sampling_batch
from stagegate.execution.step import (
    DecodeBatch,
    Decodes,
    ScheduledSequence,
    ScheduledStep,
    StepOutput,
)
from stagegate.kv.block_manager import BlockManager
from stagegate.kv.metadata import PagedMetadata
from stagegate.sampling import DEFAULTS, ROW_RANGES, SamplingParams


def sequence(
    tokens: list[int], *, output: tuple[int, ...] = (), limit: int = 16, **params: Any
) -> Sequence:
    made = Sequence(
        len(tokens),
        tokens,
        SamplingParams(**params),
        eos_token_ids=(50, 40),
        seed=len(tokens) * 11,
        max_tokens=limit,
    )
    made.append_tokens(output)
    return made


def row(ptr: Int32Array, values: Int32Array | Float32Array, index: int) -> list[float]:
    return [float(value) for value in values[ptr[index] : ptr[index + 1]]]


def step_of(kv: BlockManager, *parts: tuple[Sequence, int, int]) -> ScheduledStep:
    for member, start, count in parts:
        kv.begin(member.seq_id, member.token_ids, max_cached=0, is_first=True)
        assert kv.grow(member.seq_id, start + count)
    return ScheduledStep(
        tuple(
            ScheduledSequence(
                member,
                start,
                count,
                range(start + count - (start + count == member.num_tokens), start + count),
            )
            for member, start, count in parts
        )
    )


def batch_of(*members: Sequence) -> SamplingBatch:
    """The rows of decodes of sequences whose tokens are all known."""
    batch = build_sampling_batch(
        [
            ScheduledSequence(member, end - 1, 1, range(end - 1, end))
            for member in members
            for end in [member.num_tokens]
        ]
    )
    assert batch is not None
    return batch


def test_decode_and_chunks_share_a_step() -> None:
    kv = BlockManager(32, block_size=4)
    decode = sequence([1, 2, 3], output=(4, 5))
    chunk = sequence([10, 11, 12, 13, 14, 15, 16])
    whole = sequence([20, 21])
    step = step_of(kv, (decode, 4, 1), (chunk, 2, 3), (whole, 0, 2))
    built = build_step_input(step, kv)
    assert built.input_ids.tolist() == [5, 12, 13, 14, 20, 21]
    assert built.positions.tolist() == [4, 2, 3, 4, 0, 1]
    assert built.slot_mapping.tolist() == [4, 10, 11, 12, 16, 17]
    assert built.cu_seqlens_q.tolist() == [0, 1, 4, 6]
    assert built.context_lens.tolist() == [5, 5, 2]
    assert built.logits_indices.tolist() == [0, 5]
    assert built.sampled_rows.tolist() == []
    assert isinstance(built.attention, PagedMetadata)
    assert built.attention.block_tables.tolist() == [[0, 1], [2, 3], [4, 4]]
    assert built.sampling is not None
    assert built.sampling.seed.tolist() == [33, 22]
    assert built.sampling.draw_index.tolist() == [2, 0]
    for array in (
        built.input_ids,
        built.positions,
        built.slot_mapping,
        built.cu_seqlens_q,
        built.context_lens,
        built.logits_indices,
        built.sampled_rows,
    ):
        assert array.dtype == np.int32


def test_tokens_that_the_step_before_samples_are_filled_in_later() -> None:
    kv = BlockManager(32, block_size=4)
    known = sequence([1, 2, 3], output=(4,))
    pending = sequence([10, 11], output=(12,), min_tokens=2)
    chunk = sequence([20, 21, 22, 23])
    step = step_of(kv, (known, 3, 1), (pending, 3, 1), (chunk, 0, 2))
    decodes = Decodes(
        DecodeBatch((known, pending)), np.array([3, 3], np.int32), np.array([-1, 5], np.int32)
    )
    built = build_step_input(ScheduledStep(step.chunks[2:], decodes), kv)
    assert built.input_ids.tolist() == [4, 0, 20, 21]
    assert built.sampled_rows.tolist() == [-1, 5, -1, -1]
    assert built.positions.tolist() == [3, 3, 0, 1]
    assert built.context_lens.tolist() == [4, 4, 2]
    assert built.sampling is not None
    # Two were sampled before, the one that is not known yet included, so that it may end.
    assert built.sampling.draw_index.tolist() == [1, 2]
    assert built.sampling.bias_ids.tolist() == []


def test_a_step_without_rows_samples_nothing() -> None:
    kv = BlockManager(32, block_size=4)
    built = build_step_input(step_of(kv, (sequence([1, 2, 3]), 0, 2)), kv)
    assert built.logits_indices.tolist() == []
    assert built.sampling is None


def test_prompt_logprobs_are_rows_of_their_sequence() -> None:
    kv = BlockManager(32, block_size=4)
    decode = sequence([1, 2, 3], output=(4, 5), logprobs=1, logit_bias={9: 2.0})
    other = sequence([20, 21], repetition_penalty=1.5)
    with_prompt_logprobs = sequence([10, 11, 12, 13, 14, 15], prompt_logprobs=3)
    step = step_of(kv, (decode, 4, 1), (with_prompt_logprobs, 2, 3), (other, 0, 2))
    items = list(step.sequences)
    items[1] = items[1]._replace(logits=range(2, 5))
    built = build_step_input(ScheduledStep(tuple(items)), kv)
    assert built.logits_indices.tolist() == [0, 1, 2, 3, 5]
    assert built.logits_indices.dtype == np.int32
    batch = built.sampling
    assert batch is not None
    assert batch.num_logprobs == 3
    assert batch.parameters["temperature"].tolist() == [1, 0, 0, 0, 1]
    assert batch.parameters["repetition_penalty"].tolist() == [1, 1, 1, 1, 1.5]
    assert batch.bias_ptr.tolist() == [0, 1, 2, 3, 4, 4]
    assert batch.bias_ids.tolist() == [9, 13, 14, 15]  # those that follow positions 2 to 4
    assert batch.bias_values[1] > 1e9
    alone = batch_of(decode)
    for name, values in alone.parameters.items():
        assert batch.parameters[name].dtype == values.dtype, name
        assert len(batch.parameters[name]) == 5, name
    row_ptr = step.row_ptr
    step = ScheduledStep(tuple(items))
    assert (row_ptr.tolist(), step.row_ptr.tolist()) == ([0, 1, 1, 2], [0, 1, 4, 5])
    step.check(StepOutput(step.row_ptr, np.arange(5, dtype=np.int32)))
    with pytest.raises(ValueError, match=r"got .* with 5 tokens"):
        step.check(StepOutput(row_ptr, np.arange(5, dtype=np.int32)))
    for part in fields(batch):
        if part.name not in ("num_logprobs", "parameters"):
            assert getattr(batch, part.name).dtype == getattr(alone, part.name).dtype, part.name


def test_a_step_may_have_rows_of_a_prompt_alone() -> None:
    kv = BlockManager(32, block_size=4)
    step = step_of(kv, (sequence([1, 2, 3], prompt_logprobs=0), 0, 2))
    built = build_step_input(ScheduledStep((step.sequences[0]._replace(logits=range(2)),)), kv)
    assert built.logits_indices.tolist() == [0, 1]
    assert built.sampling is not None
    assert built.sampling.bias_ids.tolist() == [2, 3]
    assert built.sampling.num_logprobs == 0


def test_parameters_become_columns() -> None:
    plain = sequence([1], temperature=0.5, top_k=7, top_p=0.75, min_p=0.25)
    other = sequence([1, 2], presence_penalty=1.5, frequency_penalty=-0.5, repetition_penalty=2.0)
    batch = batch_of(plain, other)
    columns = {
        "temperature": ([0.5, 1.0], np.float32),
        "top_k": ([7, 0], np.int32),
        "top_p": ([0.75, 1.0], np.float32),
        "min_p": ([0.25, 0.0], np.float32),
        "repetition_penalty": ([1.0, 2.0], np.float32),
        "presence_penalty": ([0.0, 1.5], np.float32),
        "frequency_penalty": ([0.0, -0.5], np.float32),
    }
    for name in ROW_RANGES.keys() - columns.keys():
        columns[name] = ([DEFAULTS[name]] * 2, np.int32 if ROW_RANGES[name].integer else np.float32)
    assert batch.parameters.keys() == columns.keys()
    assert batch.seed.tolist() == [11, 22]
    assert batch.draw_index.tolist() == [0, 0]
    assert batch.seed.dtype == batch.draw_index.dtype == np.int64
    for name, (values, dtype) in columns.items():
        column = batch.parameters[name]
        assert column.tolist() == values, name
        assert column.dtype == dtype, name


def test_ends_are_forbidden_until_min_tokens() -> None:
    early = sequence([1], output=(2,), min_tokens=2, stop_token_ids=(60,), logit_bias={40: 3, 7: 1})
    ready = sequence([1, 2], output=(2, 3), min_tokens=2, logit_bias={40: 3, 7: -1})
    batch = batch_of(early, ready)
    ids, values = (
        row(batch.bias_ptr, batch.bias_ids, 0),
        row(batch.bias_ptr, batch.bias_values, 0),
    )
    assert dict(zip(ids, values, strict=True)) == {
        40: -math.inf,
        50: -math.inf,
        60: -math.inf,
        7: 1,
    }
    assert row(batch.bias_ptr, batch.bias_ids, 1) == [40, 7]
    assert row(batch.bias_ptr, batch.bias_values, 1) == [3, -1]


@pytest.mark.parametrize(
    ("asked", "widest"), [([None, None], -1), ([None, 0], 0), ([3, None], 3), ([2, 5], 5)]
)
def test_the_widest_row_sets_the_logprobs(asked: list[int | None], widest: int) -> None:
    rows = [sequence([1] * (i + 1), logprobs=count) for i, count in enumerate(asked)]
    assert batch_of(*rows).num_logprobs == widest


@pytest.mark.parametrize(
    ("params", "token", "status", "reason"),
    [
        ({}, 50, SequenceStatus.FINISHED_STOPPED, None),
        ({"ignore_eos": True}, 50, SequenceStatus.WAITING, None),
        ({"stop_token_ids": (9,)}, 9, SequenceStatus.FINISHED_STOPPED, 9),
        ({"stop_token_ids": (50,), "ignore_eos": True}, 50, SequenceStatus.FINISHED_STOPPED, 50),
        ({"min_tokens": 1}, 50, SequenceStatus.WAITING, None),
        ({}, 9, SequenceStatus.WAITING, None),
    ],
)
def test_what_ends_a_sequence(
    params: dict[str, Any], token: int, status: SequenceStatus, reason: int | None
) -> None:
    member = sequence([1], output=(token, 3), **params)
    assert member.output_token_ids == ([token] if status.is_finished else [token, 3])
    assert (member.status, member.stop_reason) == (status, reason)


def test_length_ends_a_sequence() -> None:
    member = sequence([1], output=(3,) * 20)
    assert member.num_output_tokens == 16
    assert member.status is SequenceStatus.FINISHED_LENGTH


def test_a_sequence_refuses_what_cannot_run() -> None:
    with pytest.raises(InvalidRequestError, match="no tokens") as empty:
        sequence([])
    assert empty.value.parameter == "prompt"
    with pytest.raises(InvalidRequestError, match="at least 1, got 0"):
        Sequence(0, [1], SamplingParams(), eos_token_ids=(), seed=0, max_tokens=0)
    with pytest.raises(ValueError, match="RUNNING does not end"):
        sequence([1]).finish(SequenceStatus.RUNNING)
