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
from suites.ops.operands import Place, fetch, load, poisoned, rounded, shifted

EPS = 1e-6


def check(context: Context, shape: tuple[int, int], dtype: str, place: Place = load) -> None:
    """Against float64, of the sum as it is stored, and bit for bit against add and rms_norm."""
    random = np.random.default_rng(shape[1])
    values, before = random.standard_normal(shape) * 3, random.standard_normal(shape)
    scales = random.standard_normal(shape[1])
    x, weight = load(context, values, dtype), place(context, scales, dtype)
    residual, out = load(context, before, dtype), poisoned(context, shape, dtype)
    ops.add_rms_norm(context, x, residual, weight, EPS, out)
    total = rounded(values, dtype) + rounded(before, dtype)
    assert_within(fetch(residual), total, dtype, F32 * abs(total))
    expected = references.rms_norm(fetch(residual), rounded(scales, dtype), float(np.float32(EPS)))
    # As of rms_norm alone.
    relative = sum_error(shape[1]) / 2 + 5 * F32
    assert_within(fetch(out), expected, dtype, relative * abs(expected))
    apart, normed = load(context, before, dtype), poisoned(context, shape, dtype)
    ops.add(context, apart, x, apart)
    ops.rms_norm(context, apart, weight, EPS, normed)
    np.testing.assert_array_equal(fetch(residual), fetch(apart))
    np.testing.assert_array_equal(fetch(out), fetch(normed))


# The widest are more than the threads of a block take at once on a GPU, or hold at all.
SHAPES = [
    *[(1, 1), (3, 7), (2, 64), (5, 129), (4, 896), (0, 16)],
    *[(3, 1536), (2, 3584), (2, 4096), (2, 8192), (2, 8960)],
]


@pytest.mark.criterion("s1.smoke")
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_float64_and_its_parts(
    context: Context, dtype: str, shape: tuple[int, int]
) -> None:
    check(context, shape, dtype)


@given(
    rows=st.integers(0, 5),
    width=sizes(300).filter(bool),
    dtype=st.sampled_from(DTYPES),
    place=st.sampled_from([load, shifted]),
)
@examples(40)
def test_any_shape(device: str, rows: int, width: int, dtype: str, place: Place) -> None:
    check(Context(device), (rows, width), dtype, place)


def test_may_write_over_x(context: Context, dtype: str) -> None:
    random = np.random.default_rng(4)
    x, residual, other = (random.standard_normal((6, 48)) for _ in range(3))
    weight, out = load(context, other[0], dtype), poisoned(context, (6, 48), dtype)
    left, right = load(context, x, dtype), load(context, x, dtype)
    first, second = load(context, residual, dtype), load(context, residual, dtype)
    ops.add_rms_norm(context, left, first, weight, EPS, out)
    ops.add_rms_norm(context, right, second, weight, EPS, right)
    np.testing.assert_array_equal(fetch(right), fetch(out))
    np.testing.assert_array_equal(fetch(first), fetch(second))


def test_threads_do_not_change_the_result(
    context: Context, two_threads: Context, dtype: str
) -> None:
    random = np.random.default_rng(5)
    values, before, scales = random.standard_normal((3, 7, 90))
    found = []
    for where in (context, two_threads):
        residual, out = load(where, before, dtype), poisoned(where, (7, 90), dtype)
        weight = load(where, scales[0], dtype)
        ops.add_rms_norm(where, load(where, values, dtype), residual, weight, EPS, out)
        found.append(np.stack([fetch(residual), fetch(out)]))
    np.testing.assert_array_equal(found[0], found[1])


def test_not_a_number_stays_in_its_row(context: Context, dtype: str) -> None:
    x = np.ones((3, 20))
    x[1, 19] = np.nan
    residual, out = load(context, np.ones((3, 20)), dtype), poisoned(context, x.shape, dtype)
    weight = load(context, np.ones(20), dtype)
    ops.add_rms_norm(context, load(context, x, dtype), residual, weight, EPS, out)
    np.testing.assert_array_equal(np.isnan(fetch(out)).any(axis=1), [False, True, False])
    assert np.isnan(fetch(residual)).sum() == 1
