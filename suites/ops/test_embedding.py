from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate._C import Context, ops
from suites.adapter.options import DTYPES
from suites.ops.examples import examples, sizes
from suites.ops.faults import assert_names_one
from suites.ops.operands import Place, fetch, load, poisoned, rounded, shifted


def run(
    context: Context, ids: list[int], table: np.ndarray, dtype: str, place: Place = load
) -> np.ndarray:
    out = poisoned(context, (len(ids), table.shape[1]), dtype)
    ops.embedding(context, load(context, ids, "i32"), place(context, table, dtype), out)
    return fetch(out)


# Odd rows move two bytes at a time on a GPU, those of whole 16 bytes 16.
WIDTHS = [37, 40, 1536]
TABLE = np.random.default_rng(1).standard_normal((11, 37))


@pytest.mark.criterion("s1.smoke")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("ids", [[], [0], [10, 0, 10, 3], list(range(11)) * 5])
def test_gathers_rows(context: Context, dtype: str, ids: list[int], width: int) -> None:
    table = np.random.default_rng(width).standard_normal((11, width))
    np.testing.assert_array_equal(run(context, ids, table, dtype), rounded(table[ids], dtype))


@st.composite
def lookups(draw: st.DrawFn) -> tuple[list[int], np.ndarray]:
    """Any ids of a table of any size; of a table of no rows none."""
    rows = draw(st.integers(0, 20))
    ids = draw(st.lists(st.integers(0, rows - 1), max_size=20)) if rows > 0 else []
    width = draw(sizes(80))
    return ids, np.random.default_rng([rows, width]).standard_normal((rows, width))


@given(lookup=lookups(), dtype=st.sampled_from(DTYPES), place=st.sampled_from([load, shifted]))
@examples(40)
def test_any_rows(
    device: str, lookup: tuple[list[int], np.ndarray], dtype: str, place: Place
) -> None:
    ids, table = lookup
    actual = run(Context(device), ids, table, dtype, place)
    np.testing.assert_array_equal(actual, rounded(table, dtype)[ids])


def test_copies_special_values(context: Context, dtype: str) -> None:
    table = np.array([[np.nan, np.inf], [-0.0, -np.inf]])
    actual = run(context, [1, 0], table, dtype)
    np.testing.assert_array_equal(actual, table[[1, 0]])
    assert np.signbit(actual[0, 0])


def test_threads_do_not_change_the_result(
    context: Context, two_threads: Context, dtype: str
) -> None:
    ids = np.random.default_rng(2).integers(0, 11, 99).tolist()
    one, two = (run(where, ids, TABLE, dtype) for where in (context, two_threads))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("ids", "position"),
    [([11], 0), ([0, 3, -1, 99], 2), ([0] * 40 + [2**31 - 1] + [-(2**31)] * 40, 40)],
)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_names_the_first_id_outside_the_table(
    device: str, ids: list[int], position: int, num_threads: int
) -> None:
    context = Context(device, num_threads)
    sentences = [
        f"embedding: id {ids[at]} at position {at} is outside a table of 11 rows"
        for at in range(position, len(ids))
        if not 0 <= ids[at] < 11
    ]
    assert_names_one(context, lambda: run(context, ids, TABLE, "f32"), sentences)
