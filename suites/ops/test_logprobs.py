"""Log-probabilities that sample reports: the model's, whatever the draw did to the logits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from stagegate import _C
from stagegate._C import Context, ops
from stagegate.errors import ArgumentError, ShapeError
from suites.ops.bounds import F32, assert_within
from suites.ops.operands import load, poisoned
from suites.ops.sampling_batch import sample, sampling_tensors
from suites.ops.sampling_reference import Row

LOGITS = np.random.default_rng(1).standard_normal((6, 300)).astype(np.float32) * 4
ROWS = [
    Row(),
    Row(temperature=0.0),
    Row(temperature=0.2, seed=5),
    Row(top_k=3, top_p=0.5, min_p=0.1),
    Row(bias={7: 100.0}),
    Row(repetition_penalty=2.0, presence_penalty=1.0, history={1: 2, 9: 0}),
]


def rounding(logits: np.ndarray) -> np.ndarray:
    """Each distance from the largest logit is rounded to f32 before its exponential is summed."""
    distances = logits.max(axis=1, keepdims=True) - logits
    error: np.ndarray = F32 * (np.exp(log_softmax(logits, axis=1)) * distances).sum(axis=1)
    return error


def test_equal_log_softmax_of_the_raw_logits(context: Context) -> None:
    logits = LOGITS.astype(np.float64)
    expected = log_softmax(logits, axis=1)
    actual = sample(context, LOGITS, ROWS, num_logprobs=300)
    drawn = np.take_along_axis(expected, actual.token_ids[:, None], axis=1)[:, 0]
    assert actual.token_ids[4] == 7
    assert_within(actual.logprobs, drawn, "f32", rounding(logits))
    sorted_expected = np.take_along_axis(expected, actual.top_ids, axis=1)
    assert_within(actual.top_logprobs, sorted_expected, "f32", rounding(logits)[:, None])


@pytest.mark.parametrize("count", [0, 1, 5, 299, 300])
def test_top_ids_come_most_likely_first(context: Context, count: int) -> None:
    order = np.argsort(-LOGITS, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(sample(context, LOGITS, ROWS, count).top_ids, order)


def test_ties_come_in_order_of_id(context: Context) -> None:
    logits = np.array([[1.0, 3.0, 1.0, 3.0, 3.0, 1.0]])
    assert sample(context, logits, [Row()], 5).top_ids.tolist() == [[1, 3, 4, 0, 2]]


@pytest.mark.parametrize("vocab", [1, 31, 1000, 151_936, 152_064])
@pytest.mark.parametrize("count", [0, 5, 20])
def test_of_vocabularies_of_any_size(context: Context, vocab: int, count: int) -> None:
    """Whole numbers, so that the cut at the last place goes through ties all over the row."""
    count = min(count, vocab)
    logits = np.random.default_rng(vocab).integers(-30, 9, (3, vocab)).astype(np.float32)
    rows = [Row(), Row(temperature=0.0), Row(top_k=3)]
    actual = sample(context, logits, rows, count)
    order = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(actual.top_ids, order)
    expected = log_softmax(logits.astype(np.float64), axis=1)
    error = rounding(logits.astype(np.float64))
    drawn = np.take_along_axis(expected, actual.token_ids[:, None], axis=1)[:, 0]
    assert_within(actual.logprobs, drawn, "f32", error)
    top = np.take_along_axis(expected, order, axis=1)
    assert_within(actual.top_logprobs, top, "f32", error[:, None])


def test_probabilities_of_zero_come_last(context: Context) -> None:
    logits = np.array([-np.inf, 2.0, -np.inf, 3.0])
    actual = sample(context, logits, [Row()], 4)
    assert actual.top_ids.tolist() == [[3, 1, 0, 2]]
    assert actual.top_logprobs[0, 2:].tolist() == [-np.inf, -np.inf]
    np.testing.assert_allclose(np.exp(actual.top_logprobs).sum(), 1, rtol=4 * F32)


def test_extreme_logits(context: Context) -> None:
    logits = np.array([[3e4, 3e4, -3e4, -np.inf], [-1e30, 0.0, 1e-30, -np.inf]])
    actual = sample(context, logits, [Row(), Row()], 4)
    assert actual.top_ids.tolist() == [[0, 1, 2, 3], [2, 1, 0, 3]]
    expected = np.take_along_axis(log_softmax(logits, axis=1), actual.top_ids, axis=1)
    np.testing.assert_allclose(actual.top_logprobs, expected, rtol=2 * F32)


def test_do_not_depend_on_neighbours_or_threads(context: Context, two_threads: Context) -> None:
    whole = sample(context, LOGITS, ROWS, 4)
    threaded = sample(two_threads, LOGITS, ROWS, 4)
    alone = sample(context, LOGITS[3:4], ROWS[3:4], 4)
    np.testing.assert_array_equal(threaded.top_logprobs, whole.top_logprobs)
    np.testing.assert_array_equal(threaded.logprobs, whole.logprobs)
    np.testing.assert_array_equal(alone.top_logprobs, whole.top_logprobs[3:4])


def test_no_more_than_the_vocabulary(context: Context) -> None:
    with pytest.raises(ShapeError, match="sample: top_ids wants 301 of 300 tokens"):
        sample(context, LOGITS, ROWS, 301)


def test_need_all_their_results(context: Context) -> None:
    outputs = _C.SamplingOutputs(
        token_ids=poisoned(context, (6,), "i32"), logprobs=poisoned(context, (6,), "f32")
    )
    inputs = _C.SamplingInputs(**sampling_tensors(context, ROWS))
    with pytest.raises(ArgumentError, match="sample: top_ids is missing"):
        ops.sample(context, load(context, LOGITS, "f32"), inputs, outputs)
