from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate._C import Context, ops
from suites.ops.examples import examples
from suites.ops.faults import assert_names_one
from suites.ops.operands import fetch, load


def run(context: Context, last_token: list[int], rows: list[int], ids: list[int]) -> list[int]:
    there = load(context, ids, "i32")
    ops.fill_sampled(context, load(context, last_token, "i32"), load(context, rows, "i32"), there)
    return [int(token) for token in fetch(there)]


@pytest.mark.criterion("s1.smoke")
@pytest.mark.parametrize(
    ("last_token", "rows", "ids", "filled"),
    [
        ([], [], [], []),
        ([], [-1, -1], [4, 5], [4, 5]),
        ([7], [0], [0], [7]),
        ([7, 8], [-1, 1, -1, 0, 1], [1, 0, 3, 0, 0], [1, 8, 3, 7, 8]),
    ],
)
def test_fills_in_what_was_sampled(
    context: Context, last_token: list[int], rows: list[int], ids: list[int], filled: list[int]
) -> None:
    assert run(context, last_token, rows, ids) == filled


@given(data=st.data())
@examples(60)
def test_any_size(device: str, data: st.DataObject) -> None:
    last_token = data.draw(st.lists(st.integers(0, 2**31 - 1), max_size=300))
    rows = data.draw(st.lists(st.integers(-1, len(last_token) - 1), max_size=300))
    ids = np.arange(len(rows))
    assert run(Context(device), last_token, rows, ids.tolist()) == [
        int(own) if row == -1 else last_token[row] for row, own in zip(rows, ids, strict=True)
    ]


@pytest.mark.parametrize("rows", [[2], [0, -2, 1], [1, 0, 5, -1, 2**31 - 1]])
def test_names_the_first_row_that_is_not_there(context: Context, rows: list[int]) -> None:
    sentences = [
        f"fill_sampled: row {row} of token {token} is outside 2 rows"
        for token, row in enumerate(rows)
        if not -1 <= row < 2
    ]
    assert_names_one(context, lambda: run(context, [8, 9], rows, [0] * len(rows)), sentences)
