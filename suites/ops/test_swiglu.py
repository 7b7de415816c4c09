from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate._C import Context, ops
from suites.adapter.options import DTYPES
from suites.ops import references
from suites.ops.bounds import F32, assert_within
from suites.ops.examples import examples, sizes
from suites.ops.operands import Place, fetch, load, poisoned, rounded, shifted


def check(context: Context, gate_up: np.ndarray, dtype: str, place: Place = load) -> None:
    out = poisoned(context, (gate_up.shape[0], gate_up.shape[1] // 2), dtype)
    ops.swiglu(context, place(context, gate_up, dtype), out)
    gate_up = rounded(gate_up, dtype)
    expected = references.swiglu(gate_up)
    # The exponential within two units, then a sum, a quotient and a product. Far below zero the
    # sigmoid may be flushed where f32 ends, hence the smallest normal number times the operands.
    gate, up = np.split(np.abs(gate_up), 2, axis=1)
    flushed = 2.0**-126 * (1 + gate) * (1 + up)
    assert_within(fetch(out), expected, dtype, 8 * F32 * abs(expected) + flushed)


@pytest.mark.criterion("s1.smoke")
@pytest.mark.parametrize("shape", [(1, 2), (3, 14), (2, 128), (5, 258), (0, 8), (4, 0)])
def test_agrees_with_float64(context: Context, dtype: str, shape: tuple[int, int]) -> None:
    check(context, np.random.default_rng(shape[1]).standard_normal(shape) * 4, dtype)


@given(
    rows=st.integers(0, 5),
    width=sizes(300),
    scale=st.sampled_from([0.1, 4.0, 30.0]),
    dtype=st.sampled_from(DTYPES),
    place=st.sampled_from([load, shifted]),
)
@examples(40)
def test_any_shape(
    device: str, rows: int, width: int, scale: float, dtype: str, place: Place
) -> None:
    gate_up = np.random.default_rng([rows, width]).standard_normal((rows, 2 * width)) * scale
    check(Context(device), gate_up, dtype, place)


def test_gates_from_closed_to_open(context: Context, dtype: str) -> None:
    """The exponential runs from underflow to overflow on the way."""
    gate = np.concatenate([np.linspace(-120, 120, 481), [-1e4, 1e4, 0.0, -0.0]])
    check(context, np.concatenate([gate, np.full(485, -1.5)])[None], dtype)


def test_halves_are_not_swapped(context: Context, dtype: str) -> None:
    out = poisoned(context, (1, 2), dtype)
    ops.swiglu(context, load(context, [[40.0, 0.0, 0.5, 8.0]], dtype), out)
    np.testing.assert_array_equal(fetch(out), [[20.0, 0.0]])


def test_threads_do_not_change_the_result(
    context: Context, two_threads: Context, dtype: str
) -> None:
    gate_up = load(context, np.random.default_rng(6).standard_normal((9, 130)), dtype)
    one, two = (poisoned(context, (9, 65), dtype) for _ in range(2))
    ops.swiglu(context, gate_up, one)
    ops.swiglu(two_threads, gate_up, two)
    np.testing.assert_array_equal(fetch(one), fetch(two))


def test_special_values(context: Context, dtype: str) -> None:
    """Every gate with every factor: a product of zero and infinity is no number."""
    values = np.array([np.inf, -np.inf, np.nan, 1.0, 0.0, -1.0])
    gate, up = (grid.ravel() for grid in np.meshgrid(values, values))
    out = poisoned(context, (1, 36), dtype)
    ops.swiglu(context, load(context, np.concatenate([gate, up])[None], dtype), out)
    with np.errstate(invalid="ignore"):
        expected = references.swiglu(np.concatenate([gate, up])[None])
    actual, finite = fetch(out), np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    error = 8 * F32 * abs(expected[finite])
    assert_within(actual[finite], expected[finite], dtype, error)
