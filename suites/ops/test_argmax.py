from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate._C import Context, ops
from stagegate.errors import ShapeError
from suites.ops.examples import examples
from suites.ops.operands import fetch, load, poisoned, rounded


def run(context: Context, x: np.ndarray, dtype: str) -> np.ndarray:
    out = poisoned(context, (x.shape[0],), "i32")
    ops.argmax(context, load(context, x, dtype), out)
    return fetch(out)


@pytest.mark.criterion("s1.smoke")
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 1000), (0, 5)])
def test_agrees_with_numpy(context: Context, dtype: str, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(shape[1]).standard_normal(shape)
    np.testing.assert_array_equal(run(context, x, dtype), rounded(x, dtype).argmax(axis=1))


@pytest.mark.parametrize(
    "shape", [(1, 31), (64, 1000), (300, 5), (1, 2049), (3, 4097), (1, 151_936), (3, 152_064)]
)
def test_of_parts_of_any_size(context: Context, dtype: str, shape: tuple[int, int]) -> None:
    """Rounded to 16 bits, the many values of a long row tie all over it."""
    x = np.random.default_rng(shape[1]).standard_normal(shape)
    np.testing.assert_array_equal(run(context, x, dtype), rounded(x, dtype).argmax(axis=1))


@pytest.mark.parametrize("first", [0, 1, 2047, 2048, 70_000, 99_999])
def test_ties_far_apart(context: Context, dtype: str, first: int) -> None:
    x = np.full((2, 100_001), -np.inf)
    x[0, first::7] = 1.0
    x[1, :first] = np.nan
    assert run(context, x, dtype).tolist() == [first, first]


# Few values, so that most rows have ties.
values = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf])


@given(row=st.lists(values, min_size=1, max_size=40))
@examples(100)
def test_ties_go_to_the_lowest_index(device: str, row: list[float]) -> None:
    x = np.array([row])
    np.testing.assert_array_equal(run(Context(device), x, "f32"), x.argmax(axis=1))


@given(row=st.lists(values | st.just(np.nan), min_size=1, max_size=40))
@examples(100)
def test_not_a_number_never_wins(device: str, row: list[float]) -> None:
    numbers = [index for index, value in enumerate(row) if not np.isnan(value)]
    expected = max(numbers, key=lambda index: (row[index], -index), default=0)
    assert run(Context(device), np.array([row]), "f32").tolist() == [expected]


def test_values_equal_after_rounding_are_ties(context: Context) -> None:
    x = np.array([[1.0, 1.0 + 2.0**-9, 1.0 + 2.0**-10]])
    assert run(context, x, "bf16").tolist() == [0]
    assert run(context, x, "f32").tolist() == [1]


def test_threads_do_not_change_the_result(
    context: Context, two_threads: Context, dtype: str
) -> None:
    x = np.random.default_rng(2).integers(0, 9, (31, 77)).astype(np.float64)
    np.testing.assert_array_equal(run(context, x, dtype), run(two_threads, x, dtype))


def test_rows_without_elements_have_no_argmax(context: Context) -> None:
    with pytest.raises(ShapeError, match="argmax: rows of x are empty"):
        run(context, np.zeros((2, 0)), "f32")
