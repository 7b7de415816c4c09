"""Attention of one query a sequence, as in a decode: any mixture of lengths and any group of heads.

On a GPU the keys of all sequences are cut into equal shares, so what is compared here are the cuts:
inside long contexts, between short ones, and around padding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate import _C
from stagegate._C import Context, ops
from suites.ops.attention_batch import (
    QWEN,
    Batch,
    Heads,
    assert_exact_enough,
    make_batch,
    paged_metadata,
    roundings,
    run_csr,
    run_paged,
    skip_what_flashinfer_lacks,
)
from suites.ops.examples import examples
from suites.ops.operands import fetch, load, poisoned

LARGE = Heads(12, 2, 128)

# Context lengths; 0 is padding.
LENGTHS = {
    "one": [1037],
    "equal": [256] * 24,
    "about equal, several a worker": [497 + 37 * i % 30 for i in range(250)] + [0] * 6,
    "about equal, one a worker": [1003 + 37 * i % 58 for i in range(64)],
    "about equal, in pieces": [1003 + 37 * i % 58 for i in range(5)],
    "one long among short ones": [20] * 13 + [6000] + [20] * 26,
    "long ones around short ones": [3000, 1, 0, 2, 3000],
    "edges of units": [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257],
    "padding before, between and behind": [0, 0, 300, 0, 17, 900, 0, 0],
    "much padding": [100 + 61 * i % 900 for i in range(70)] + [0] * 58,
    "padding behind equal ones": [512] * 100 + [0] * 28,
    "more queries than threads": [1 + 37 * i % 90 for i in range(300)],
}

pytestmark = pytest.mark.criterion("s3.ragged")


def compare(
    context: Context,
    form: Callable[..., Any],
    lengths: list[int],
    heads: Heads,
    dtype: str,
    block_size: int = 16,
) -> None:
    batch = make_batch(lengths, [1] * len(lengths), heads, block_size)
    actual = form(context, batch, dtype)
    rounded_by = roundings(context, form, batch, dtype)
    assert_exact_enough(actual, batch, batch.visible(), dtype, roundings=rounded_by)


@pytest.mark.parametrize("device", ["cuda"])
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("form", [run_csr, run_paged])
@pytest.mark.parametrize("heads", [LARGE, QWEN], ids=["128", "64"])
@pytest.mark.parametrize("name", LENGTHS)
def test_mixed_lengths(
    context: Context, dtype: str, form: Callable[..., Any], heads: Heads, name: str
) -> None:
    compare(context, form, LENGTHS[name], heads, dtype)


@pytest.mark.parametrize("device", ["cuda"])
@pytest.mark.parametrize("form", [run_csr, run_paged])
@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("group", [1, 2, 5, 7, 8, 9, 12, 16, 17, 33])
def test_groups_of_heads(
    context: Context, form: Callable[..., Any], head_dim: int, group: int
) -> None:
    """As columns of products 8 wide, one or two at a time, or several times over."""
    heads = Heads(2 * group, 2, head_dim)
    compare(context, form, [700, 3, 0, 64, 1500], heads, "bf16")


@pytest.mark.parametrize("device", ["cuda"])
@pytest.mark.parametrize("block_size", [1, 7, 16, 24, 48, 128])
def test_blocks_of_any_size(context: Context, dtype: str, block_size: int) -> None:
    compare(context, run_paged, [500, 0, 129, 3], LARGE, dtype, block_size)


@pytest.mark.parametrize("device", ["cuda"])
def test_as_many_sequences_as_share_no_keys(context: Context) -> None:
    """From wide workers to single blocks: each number of sequences is divided in another way."""
    for count in (1, 2, 8, 9, 16, 17, 32, 33, 66, 67, 132, 133):
        lengths = [40 + 13 * i % 200 for i in range(count)]
        compare(context, run_paged, lengths, LARGE, "bf16")


@pytest.mark.parametrize("device", ["cuda"])
@pytest.mark.parametrize("name", LENGTHS)
def test_the_same_bits_every_time(context: Context, dtype: str, name: str) -> None:
    """Whichever worker comes first."""
    batch = make_batch(LENGTHS[name], [1] * len(LENGTHS[name]), LARGE)
    expected = run_paged(context, batch, dtype)
    for _ in range(20):
        np.testing.assert_array_equal(run_paged(context, batch, dtype), expected)


@pytest.mark.parametrize("heads", [LARGE, Heads(4, 2, 8)], ids=["128", "8"])
@pytest.mark.parametrize("name", ["one", "one long among short ones", "edges of units"])
def test_newest_keys_are_those_just_written(
    context: Context, dtype: str, heads: Heads, name: str
) -> None:
    """In a step, by the operator before it, while a GPU reads older ones already."""
    skip_what_flashinfer_lacks(context, dtype, heads.dim)
    lengths = LENGTHS[name]
    batch = make_batch(lengths, [1] * len(lengths), heads)
    expected = run_paged(context, batch, dtype)
    newest = [int(batch.slots(sequence)[-1]) for sequence in range(len(lengths))]
    new_k, new_v = (load(context, values[newest], dtype) for values in (batch.k, batch.v))
    slots = load(context, newest, "i32")
    for values in (batch.k, batch.v):
        values[newest] = np.nan
    k_cache, v_cache = (load(context, values, dtype) for values in (batch.k, batch.v))
    q, out = load(context, batch.q, dtype), poisoned(context, batch.q.shape, dtype)
    tables, context_lens, cu_seqlens_q = paged_metadata(context, batch)
    metadata = _C.PagedMetadata(tables, batch.block_size)
    ops.kv_write(context, new_k, new_v, slots, k_cache, v_cache)
    ops.attend(
        context,
        q=q,
        k_cache=k_cache,
        v_cache=v_cache,
        metadata=metadata,
        context_lens=context_lens,
        cu_seqlens_q=cu_seqlens_q,
        scale=batch.scale,
        out=out,
    )
    context.synchronize()
    np.testing.assert_array_equal(fetch(out), expected)


@st.composite
def decodes(draw: st.DrawFn) -> Batch:
    count = draw(st.integers(1, 40))
    most = draw(st.sampled_from([3, 80, 2000]))
    lengths = draw(st.lists(st.integers(0, most), min_size=count, max_size=count))
    heads = draw(st.sampled_from([LARGE, QWEN, Heads(7, 1, 128), Heads(20, 2, 64)]))
    block_size = draw(st.sampled_from([7, 16, 64]))
    return make_batch(lengths, [1] * count, heads, block_size, seed=draw(st.integers(0, 99)))


@pytest.mark.parametrize("device", ["cuda"])
@given(batch=decodes())
@examples(40)
def test_any_decode(device: str, batch: Batch) -> None:
    context = Context(device)
    for form in (run_csr, run_paged):
        rounded_by = roundings(context, run_paged, batch, "bf16")
        actual = form(context, batch, "bf16")
        assert_exact_enough(actual, batch, batch.visible(), "bf16", roundings=rounded_by)
