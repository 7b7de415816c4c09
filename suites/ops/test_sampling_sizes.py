"""Draws from vocabularies of every size, where a device splits the work in parts: the cuts of
top-k and top-p, ties and special values at and across the borders of the parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stagegate import _C
from stagegate._C import Context, ops
from stagegate.errors import ArgumentError
from suites.ops import sampling_reference as reference
from suites.ops.operands import fetch, load, poisoned
from suites.ops.sampling_batch import sample, sampling_tensors
from suites.ops.sampling_reference import Row

LARGEST = 152_064

KINDS = [
    Row(temperature=0.0),
    Row(),
    Row(top_k=50),
    Row(temperature=0.7, top_p=0.9),
    Row(temperature=0.0, history={0: 2}, repetition_penalty=1.3, frequency_penalty=0.5),
    Row(top_k=20, top_p=0.8, min_p=0.01),
    Row(temperature=1.5, min_p=0.05),
    Row(top_k=3000, top_p=0.99, bias={0: 5.0}),
    Row(temperature=0.1, top_k=100, top_p=0.95),
    Row(temperature=2.5, top_p=0.999, presence_penalty=0.4, history={0: 1}),
]


def mixed(count: int) -> list[Row]:
    """Greedy rows beside sampled ones."""
    return [
        replace(KINDS[index % len(KINDS)], seed=index - 7, draw_index=index**3)
        for index in range(count)
    ]


def random_logits(rows: int, vocab: int) -> np.ndarray:
    return np.random.default_rng(vocab).standard_normal((rows, vocab)).astype(np.float32) * 3


@pytest.mark.parametrize(
    ("rows", "vocab"),
    [
        *((rows, vocab) for rows in (1, 3, 64) for vocab in (1, 31, 1000, 4099)),
        (300, 33),
        (1, 151_936),
        (10, LARGEST),
    ],
)
def test_mixed_rows_of_any_size(context: Context, rows: int, vocab: int) -> None:
    logits = random_logits(rows, vocab)
    expected = [reference.draw(*pair) for pair in zip(logits, mixed(rows), strict=True)]
    assert sample(context, logits, mixed(rows)).token_ids.tolist() == expected


def test_a_row_alone_is_drawn_as_in_a_batch(context: Context) -> None:
    """A batch that a GPU takes in turns, for its rows are long."""
    logits, rows = random_logits(64, LARGEST), mixed(64)
    whole = sample(context, logits, rows, num_logprobs=5)
    again = sample(context, logits, rows, num_logprobs=5)
    for name in ("token_ids", "logprobs", "top_ids", "top_logprobs"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    for index in range(0, 64, 7):
        alone = sample(context, logits[index], [rows[index]], num_logprobs=5)
        assert alone.token_ids[0] == whole.token_ids[index]
        assert alone.logprobs[0] == whole.logprobs[index]
        np.testing.assert_array_equal(alone.top_logprobs[0], whole.top_logprobs[index])


def test_ties_far_apart(context: Context) -> None:
    """The largest logit stands on both sides of borders between parts of 1024 and 2048 tokens."""
    logits = np.zeros(LARGEST, np.float32)
    logits[[2047, 2048, 4095, 100_000, LARGEST - 1]] = 5.0
    kinds = [Row(temperature=0.0), Row(top_k=3), Row(top_k=4), Row(temperature=0.2, top_p=0.5)]
    rows = [replace(kind, seed=seed) for kind in kinds for seed in range(3)]
    expected = [reference.draw(logits, row) for row in rows]
    assert expected[:3] == [2047] * 3
    assert sample(context, logits, rows).token_ids.tolist() == expected


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        (Row(top_k=1), 1),
        (Row(top_k=2500), 2500),
        (Row(top_k=20_001), 20_001),
        (Row(top_p=1e-9), 1),
        (Row(top_p=0.5), 10_001),
        (Row(top_k=5000, top_p=0.1), 500),
        (Row(min_p=1.0), 20_001),
        (Row(temperature=1e-30, top_k=3000), 3000),
    ],
)
def test_of_equal_tokens_the_lowest_ids_stay(context: Context, row: Row, kept: int) -> None:
    """With equal odds the largest random number wins."""
    rows = [replace(row, seed=seed) for seed in range(8)]
    expected = [int(reference.uniforms(row, 20_001)[:kept].argmax()) for row in rows]
    assert sample(context, np.full(20_001, -3.5), rows).token_ids.tolist() == expected


def test_cuts_among_many_ties(context: Context) -> None:
    logits = np.random.default_rng(3).integers(-8, 9, 10_007).astype(np.float32)
    rows = [
        replace(kind, seed=seed, draw_index=2**33 + seed)
        for kind in (
            Row(top_k=123),
            Row(top_p=0.371),
            Row(top_k=700, top_p=0.613),
            Row(temperature=0.5, top_k=1000, top_p=0.9013, min_p=0.1),
            Row(temperature=7.0, top_k=9000, top_p=0.877),
        )
        for seed in range(4)
    ]
    expected = [reference.draw(logits, row) for row in rows]
    assert sample(context, logits, rows).token_ids.tolist() == expected


FILTERED = [Row(temperature=0.0), Row(), Row(top_k=5), Row(top_p=0.9), Row(top_k=9, top_p=0.3)]


@pytest.mark.parametrize("lone", [0, 2048, LARGEST - 1])
@pytest.mark.parametrize("by", ["mask", "-inf"])
def test_one_token_is_left(context: Context, by: str, lone: int) -> None:
    if by == "mask":
        logits = random_logits(1, LARGEST)[0]
        rows = [replace(row, allowed=frozenset({lone})) for row in FILTERED]
    else:
        logits = np.full(LARGEST, float(by))
        logits[lone] = -4.0
        rows = FILTERED
    assert sample(context, logits, rows).token_ids.tolist() == [lone] * len(rows)


def test_no_token_is_left(context: Context) -> None:
    logits = np.zeros((3, 5000))
    logits[1] = -np.inf
    with pytest.raises(ArgumentError, match="sample: row 1 has no finite logit"):
        sample(context, logits, [Row(), Row(top_k=3), Row(temperature=0.0)])


def test_a_bias_reaches_every_part(context: Context) -> None:
    """Long lists, in no order, on both sides of the borders between parts; the history is longer
    than a block has threads."""
    random = np.random.default_rng(9)
    ids = random.permutation(LARGEST)[:800]
    bias = dict(zip(ids[:400].tolist(), random.uniform(-9, 9, 400).round(2).tolist(), strict=True))
    history = dict(zip(ids[200:].tolist(), random.integers(0, 4, 600).tolist(), strict=True))
    row = Row(bias=bias, history=history, repetition_penalty=1.4, frequency_penalty=0.3)
    rows = [replace(row, temperature=0.0), replace(row, seed=1), replace(row, seed=2, top_k=40)]
    logits = random_logits(1, LARGEST)[0]
    expected = [reference.draw(logits, row) for row in rows]
    assert sample(context, logits, rows).token_ids.tolist() == expected


def test_more_rows_than_are_taken_at_once(context: Context) -> None:
    """On a GPU they are taken in turns of 128; masks and lists of tokens belong to a row of all."""
    logits, rows = random_logits(300, 2051), mixed(300)
    for index in range(0, 300, 7):
        rows[index] = replace(rows[index], allowed=frozenset(range(index, 2051, 3)))
    actual = sample(context, logits, rows, num_logprobs=3)
    expected = [reference.draw(*pair) for pair in zip(logits, rows, strict=True)]
    assert actual.token_ids.tolist() == expected
    order = np.argsort(-logits, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(actual.top_ids, order)
    for index in (0, 127, 128, 255, 256, 299):
        alone = sample(context, logits[index], [rows[index]], num_logprobs=3)
        assert alone.logprobs[0] == actual.logprobs[index]
        np.testing.assert_array_equal(alone.top_logprobs[0], actual.top_logprobs[index])


def test_faults_behind_the_rows_taken_at_once(context: Context) -> None:
    """The turns come in order, so the first of two bad rows is named."""
    rows = [Row()] * 300
    rows[130] = rows[290] = Row(top_p=0.0)
    with pytest.raises(ArgumentError, match="sample: top_p of row 130 must be"):
        sample(context, np.zeros(33), rows)
    rows = [*[Row()] * 299, Row(bias={40: 1.0})]
    with pytest.raises(ArgumentError, match="sample: bias_ids of row 299 names token 40 of"):
        sample(context, np.zeros(33), rows)


OTHERS = list(range(100, 131))  # the rest of what a warp takes at once


@pytest.mark.parametrize(
    ("ids", "values", "expected"),
    [
        ([7, 7, 7], [1e8, -1e8, 1.0], 7),
        ([7, 7, 7], [1e8, 1.0, -1e8], 9),
        ([7, *OTHERS, 7, 7], [1e8, *[0.0] * 31, -1e8, 1.0], 7),
        ([7, *OTHERS[1:], 7, 7], [1e8, *[0.0] * 30, 1.0, -1e8], 9),
        ([7] * 41, [*[1.0] * 39, 1e8, -1e8], 7),
        ([7] * 41, [1e8, *[1.0] * 39, -1e8], 9),
    ],
)
def test_a_token_named_twice_gets_its_values_in_order(
    context: Context, ids: list[int], values: list[float], expected: int
) -> None:
    """A 1 that is added to 1e8 is lost, for the next number is 8 away.

    So token 7 is left with 1 or more, or with nothing; token 9 has 0.5.
    """
    tensors = sampling_tensors(context, [Row(temperature=0.0)])
    tensors["bias_ptr"] = load(context, [0, len(ids)], "i32")
    tensors["bias_ids"] = load(context, ids, "i32")
    tensors["bias_values"] = load(context, values, "f32")
    logits = np.zeros((1, 3000))
    logits[0, 9] = 0.5
    token_ids = poisoned(context, (1,), "i32")
    ops.sample(
        context,
        load(context, logits, "f32"),
        _C.SamplingInputs(**tensors),
        _C.SamplingOutputs(token_ids=token_ids),
    )
    context.synchronize()
    assert fetch(token_ids).tolist() == [expected]
