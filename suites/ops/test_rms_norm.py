from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate._C import Context, ops
from suites.adapter.options import DTYPES
from suites.ops import references
from suites.ops.bounds import F32, assert_within, sum_error
from suites.ops.examples import examples, sizes
from suites.ops.operands import Place, fetch, load, poisoned, rounded, shifted, strided

EPS = 1e-6


def check(
    context: Context, x: np.ndarray, weight: np.ndarray, dtype: str, place: Place = load
) -> None:
    out = poisoned(context, x.shape, dtype)
    ops.rms_norm(context, load(context, x, dtype), place(context, weight, dtype), EPS, out)
    x, weight = rounded(x, dtype), rounded(weight, dtype)
    expected = references.rms_norm(x, weight, float(np.float32(EPS)))
    # The sum of squares does not cancel and its square root halves the error; then a division, a
    # square root, a reciprocal and two products round once each.
    relative = sum_error(x.shape[1]) / 2 + 5 * F32
    assert_within(fetch(out), expected, dtype, relative * abs(expected))


# The widest are more than the threads of a block take at once on a GPU.
SHAPES = [(1, 1), (3, 7), (2, 64), (5, 129), (4, 896), (0, 16), (3, 1536), (2, 3584), (2, 8960)]


@pytest.mark.criterion("s1.smoke")
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_float64(context: Context, dtype: str, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(shape[1])
    check(context, random.standard_normal(shape) * 3, random.standard_normal(shape[1]), dtype)


@given(
    rows=st.integers(0, 5),
    width=sizes(300).filter(bool),
    scale=st.sampled_from([1e-3, 1.0, 300.0]),
    dtype=st.sampled_from(DTYPES),
    place=st.sampled_from([load, shifted]),
)
@examples(40)
def test_any_shape(
    device: str, rows: int, width: int, scale: float, dtype: str, place: Place
) -> None:
    random = np.random.default_rng([rows, width])
    x, weight = random.standard_normal((rows, width)) * scale, random.standard_normal(width)
    check(Context(device), x, weight, dtype, place)


@given(
    tokens=st.integers(0, 4),
    heads=st.integers(0, 4),
    width=sizes(140).filter(bool),
    dtype=st.sampled_from(DTYPES),
    place=st.sampled_from([load, strided, shifted]),
)
@examples(40)
def test_heads_have_norms_of_their_own(
    device: str, tokens: int, heads: int, width: int, dtype: str, place: Place
) -> None:
    """Those of a slice of a merged projection, written over."""
    context = Context(device)
    random = np.random.default_rng([tokens, heads, width])
    values, weight = random.standard_normal((tokens, heads, width)), random.standard_normal(width)
    x = place(context, values, dtype)
    ops.rms_norm(context, x, load(context, weight, dtype), EPS, x)
    values, weight = rounded(values, dtype), rounded(weight, dtype)
    expected = references.rms_norm(values, weight, float(np.float32(EPS)))
    relative = sum_error(width) / 2 + 5 * F32
    assert_within(fetch(x), expected, dtype, relative * abs(expected))


def test_strided_rows_leave_what_lies_between(context: Context, dtype: str) -> None:
    wide = load(context, np.random.default_rng(6).standard_normal((3, 5, 8)), dtype)
    before = fetch(wide)
    queries = wide.slice(1, 1, 3)
    ops.rms_norm(context, queries, load(context, np.full(8, 2.0), dtype), EPS, queries)
    after = fetch(wide)
    np.testing.assert_array_equal(after[:, [0, 3, 4]], before[:, [0, 3, 4]])
    assert (after[:, 1:3] != before[:, 1:3]).any(axis=-1).all()


def test_outlier_channels(context: Context, dtype: str) -> None:
    """The residual stream of real models has a few channels hundreds of times the others."""
    x = np.random.default_rng(1).standard_normal((4, 200))
    x[:, [3, 77]] = [2000.0, -900.0]
    check(context, x, np.full(200, 0.3), dtype)


def test_squares_of_16_bit_values_do_not_overflow(context: Context) -> None:
    check(context, np.full((2, 40), 30000.0), np.ones(40), "f16")


def test_zero_row_stays_zero(context: Context, dtype: str) -> None:
    check(context, np.zeros((3, 33)), np.ones(33), dtype)


def test_eps_rules_where_the_row_is_tiny(context: Context, dtype: str) -> None:
    check(context, np.full((2, 21), 1e-4), np.ones(21), dtype)


def test_may_write_over_x(context: Context, dtype: str) -> None:
    random = np.random.default_rng(4)
    x = load(context, random.standard_normal((6, 51)), dtype)
    weight = load(context, random.standard_normal(51), dtype)
    out = poisoned(context, (6, 51), dtype)
    ops.rms_norm(context, x, weight, EPS, out)
    ops.rms_norm(context, x, weight, EPS, x)
    np.testing.assert_array_equal(fetch(x), fetch(out))


def test_threads_do_not_change_the_result(
    context: Context, two_threads: Context, dtype: str
) -> None:
    random = np.random.default_rng(5)
    x = load(context, random.standard_normal((7, 90)), dtype)
    weight = load(context, random.standard_normal(90), dtype)
    one, two = (poisoned(context, (7, 90), dtype) for _ in range(2))
    ops.rms_norm(context, x, weight, EPS, one)
    ops.rms_norm(two_threads, x, weight, EPS, two)
    np.testing.assert_array_equal(fetch(one), fetch(two))


def test_rows_without_elements(context: Context, dtype: str) -> None:
    """Their mean square is 0 / 0, which nobody asks for."""
    x, out = (poisoned(context, (3, 0), dtype) for _ in range(2))
    ops.rms_norm(context, x, poisoned(context, (0,), dtype), EPS, out)
    context.synchronize()


def test_not_a_number_stays_in_its_row(context: Context, dtype: str) -> None:
    x = np.ones((3, 20))
    x[1, 19] = np.nan
    out = poisoned(context, x.shape, dtype)
    ops.rms_norm(context, load(context, x, dtype), load(context, np.ones(20), dtype), EPS, out)
    np.testing.assert_array_equal(np.isnan(fetch(out)).any(axis=1), [False, True, False])
