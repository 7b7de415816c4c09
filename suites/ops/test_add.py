from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stagegate._C import Context, ops
from suites.adapter.options import DTYPES
from suites.ops.bounds import F32, assert_within
from suites.ops.examples import examples
from suites.ops.operands import Place, fetch, load, poisoned, rounded, shifted


def check(context: Context, shape: tuple[int, ...], dtype: str, place: Place = load) -> None:
    random = np.random.default_rng(1)
    a, b = random.standard_normal(shape) * 10, random.standard_normal(shape)
    out = poisoned(context, shape, dtype)
    ops.add(context, place(context, a, dtype), load(context, b, dtype), out)
    expected = rounded(a, dtype) + rounded(b, dtype)
    assert_within(fetch(out), expected, dtype, F32 * abs(expected))


@pytest.mark.criterion("s1.smoke")
@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 17), (5000,), (0, 4), ()])
def test_agrees_with_float64(context: Context, dtype: str, shape: tuple[int, ...]) -> None:
    check(context, shape, dtype)


@given(
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=24),
    dtype=st.sampled_from(DTYPES),
    place=st.sampled_from([load, shifted]),
)
@examples(40)
def test_any_shape(device: str, shape: tuple[int, ...], dtype: str, place: Place) -> None:
    check(Context(device), shape, dtype, place)


@pytest.mark.parametrize("into", ["a", "b"])
def test_may_write_over_an_operand(context: Context, dtype: str, into: str) -> None:
    random = np.random.default_rng(2)
    operands = {name: load(context, random.standard_normal((9, 33)), dtype) for name in "ab"}
    out = poisoned(context, (9, 33), dtype)
    ops.add(context, operands["a"], operands["b"], out)
    ops.add(context, operands["a"], operands["b"], operands[into])
    np.testing.assert_array_equal(fetch(operands[into]), fetch(out))


def test_special_values(context: Context, dtype: str) -> None:
    a = load(context, [np.inf, -np.inf, np.inf, np.nan, -0.0], dtype)
    b = load(context, [1.0, -1.0, -np.inf, 0.0, -0.0], dtype)
    out = poisoned(context, (5,), dtype)
    ops.add(context, a, b, out)
    actual = fetch(out)
    np.testing.assert_array_equal(actual, [np.inf, -np.inf, np.nan, np.nan, -0.0])
    assert np.signbit(actual[4])


def test_16_bit_sum_past_the_range_is_infinite(context: Context) -> None:
    out = poisoned(context, (2,), "f16")
    values = load(context, [65504.0, -65504.0], "f16")
    ops.add(context, values, values, out)
    np.testing.assert_array_equal(fetch(out), [np.inf, -np.inf])


def test_threads_do_not_change_the_result(
    context: Context, two_threads: Context, dtype: str
) -> None:
    random = np.random.default_rng(3)
    a, b = (load(context, random.standard_normal(20_001), dtype) for _ in range(2))
    one, two = (poisoned(context, (20_001,), dtype) for _ in range(2))
    ops.add(context, a, b, one)
    ops.add(two_threads, a, b, two)
    np.testing.assert_array_equal(fetch(one), fetch(two))
