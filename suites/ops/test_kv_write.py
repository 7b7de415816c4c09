from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate._C import Context, Tensor, ops
from suites.adapter.options import DTYPES
from suites.ops.examples import examples, sizes
from suites.ops.faults import assert_names_one
from suites.ops.operands import Place, fetch, load, poisoned, rounded, shifted, strided

HEADS = (2, 5)  # key heads, head_dim
# Those of Qwen2-0.5B and 7B: rows of whole 16 bytes, which a GPU moves 16 at a time.
MODEL_HEADS = [(2, 64), (4, 128)]


def rows(count: int, seed: int, heads: tuple[int, int] = HEADS) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *heads))


def run(
    context: Context, k: Tensor, v: Tensor, slots: list[int], num_slots: int
) -> tuple[np.ndarray, np.ndarray]:
    caches = [poisoned(context, (num_slots, *k.shape[1:]), k.dtype) for _ in range(2)]
    ops.kv_write(context, k, v, load(context, slots, "i32"), *caches)
    return fetch(caches[0]), fetch(caches[1])


@pytest.mark.criterion("s1.smoke")
@pytest.mark.parametrize("slots", [[], [0], [7, 0, 3], [8, 7, 6, 5, 4, 3, 2, 1, 0]])
@pytest.mark.parametrize("heads", [HEADS, *MODEL_HEADS])
@pytest.mark.parametrize("place", [load, strided])
def test_writes_the_named_slots_and_no_other(
    context: Context, dtype: str, slots: list[int], heads: tuple[int, int], place: Place
) -> None:
    k, v = rows(len(slots), 1, heads), rows(len(slots), 2, heads)
    caches = run(context, place(context, k, dtype), place(context, v, dtype), slots, 9)
    untouched = sorted(set(range(9)) - set(slots))
    for cache, values in zip(caches, (k, v), strict=True):
        np.testing.assert_array_equal(cache[slots], rounded(values, dtype))
        assert np.isnan(cache[untouched]).all()


@st.composite
def mappings(draw: st.DrawFn) -> tuple[list[int], int]:
    """Slots for tokens in any order, some of them padding, and how many slots there are."""
    num_slots = draw(st.integers(0, 12))
    slots = draw(st.permutations(range(num_slots)))[: draw(st.integers(0, num_slots))]
    for at in draw(st.lists(st.integers(0, len(slots)), max_size=3)):
        slots.insert(at, -1)
    return slots, num_slots


places = st.sampled_from([load, strided, shifted])


@given(
    mapping=mappings(),
    heads=st.tuples(st.integers(0, 4), sizes(40)),
    dtype=st.sampled_from(DTYPES),
    place_k=places,
    place_v=places,
)
@examples(40)
def test_any_rows(
    device: str,
    mapping: tuple[list[int], int],
    heads: tuple[int, int],
    dtype: str,
    place_k: Place,
    place_v: Place,
) -> None:
    context = Context(device)
    slots, num_slots = mapping
    k, v = (rows(len(slots), seed, heads) for seed in (1, 2))
    caches = run(context, place_k(context, k, dtype), place_v(context, v, dtype), slots, num_slots)
    written = np.array(slots, int) >= 0
    for cache, values in zip(caches, (k, v), strict=True):
        expected = np.full((num_slots, *heads), np.nan)
        expected[np.array(slots, int)[written]] = rounded(values, dtype)[written]
        np.testing.assert_array_equal(cache, expected)


def test_padding_writes_nothing(context: Context, dtype: str) -> None:
    k, v = rows(5, 3), rows(5, 4)
    k[[0, 2, 4]] = v[[0, 2, 4]] = 1e4
    caches = run(context, load(context, k, dtype), load(context, v, dtype), [-1, 3, -1, 0, -1], 4)
    for cache, values in zip(caches, (k, v), strict=True):
        np.testing.assert_array_equal(cache[[3, 0]], rounded(values[[1, 3]], dtype))
        assert np.isnan(cache[[1, 2]]).all()


def test_threads_do_not_change_the_result(
    context: Context, two_threads: Context, dtype: str
) -> None:
    slots = np.random.default_rng(5).permutation(60)[:50].tolist()
    k, v = load(context, rows(50, 6), dtype), load(context, rows(50, 7), dtype)
    one, two = (run(where, k, v, slots, 60) for where in (context, two_threads))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("slots", "token"), [([9], 0), ([0, -2, 10], 1), ([-1, 1, 2, 9, -5], 3)])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_names_the_first_slot_outside_the_cache(
    device: str, slots: list[int], token: int, num_threads: int
) -> None:
    context = Context(device, num_threads)
    k = load(context, rows(len(slots), 8), "f32")
    sentences = [
        f"kv_write: slot {slots[at]} of token {at} is outside a cache of 9 slots"
        for at in range(token, len(slots))
        if not -1 <= slots[at] < 9
    ]
    assert_names_one(context, lambda: run(context, k, k, slots, 9), sentences)
