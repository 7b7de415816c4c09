"""Attention with metadata that breaks its rules: refused by name, and never out of bounds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate._C import Context, ops
from stagegate.errors import ArgumentError, ShapeError
from suites.ops.attention_batch import (
    skip_what_flashinfer_lacks,
)
from suites.ops.examples import examples
from suites.ops.faults import assert_names_one
from suites.ops.operands import fetch, load, poisoned


def test_dense_needs_as_many_keys_as_queries(context: Context) -> None:
    q, k = (load(context, np.ones((rows, 2, 4)), "f32") for rows in (3, 2))
    with pytest.raises(ShapeError, match="self_attention: 3 queries need as many keys or more"):
        ops.self_attention(context, q, k, k, 1.0, q)


@pytest.mark.parametrize("query_heads", [1, 3])
def test_heads_must_divide(context: Context, query_heads: int) -> None:
    q = load(context, np.ones((1, query_heads, 4)), "f32")
    k = load(context, np.ones((1, 2, 4)), "f32")
    message = f"self_attention: {query_heads} query heads are not a multiple of 2 key heads"
    with pytest.raises(ShapeError, match=message):
        ops.self_attention(context, q, k, k, 1.0, q)


def run_to_end(context: Context, operator: Callable[..., Any], *operands: object) -> None:
    """A GPU finds wrong metadata when it gets there, and says so to whoever waits."""
    operator(context, *operands)
    context.synchronize()


# Operands for each kernel of a GPU: heads of 64 and 128 in 16 bits go to tensor cores.
EVERY_KERNEL = [("f32", 4), ("bf16", 64), ("f16", 128)]

CSR_RULES = {
    "used_slots[1] = 6 is outside a cache of 6 slots": ([0, 6], [0, 1, 2], [0, 1]),
    "used_slots[0] = -1 is outside a cache of 6 slots": ([-1, 0], [0, 1, 2], [0, 1]),
    "used_slots[2] = -1 is outside a cache of 6 slots": ([0, 1, -1, 3], [0, 1, 2], [0, 1]),
    "used_slots[1] = 3 does not ascend": ([3, 3], [0, 1, 2], [0, 1]),
    "used_slots[2] = 1 does not ascend": ([0, 2, 1], [0, 1, 2], [0, 1]),
    "row_ptr must run from 0 to 2, got 1 to 2": ([0, 1], [1, 1, 2], [0, 1]),
    "row_ptr must run from 0 to 2, got 0 to 1": ([0, 1], [0, 1, 1], [0, 1]),
    "row_ptr must run from 0 to 2, got 0 to 3": ([0, 1], [0, 1, 3], [0, 1]),
    "row_ptr must run from 0 to 3, got 0 to 1": ([0, 1], [0, 1, 1], [0, 1, -1]),
    "row_ptr[2] = 2 is less than the entry before it": ([0, 1], [0, 3, 2], [0, 1]),
    "col_idx[1] = 2 of query 1": ([0, 1], [0, 1, 2], [0, 2]),
    "col_idx[0] = 2 of query 0": ([0, 1, -1], [0, 1, 2], [2, 1]),
    "col_idx[1] = -1 of query 1": ([0, 1], [0, 1, 2], [0, -1]),
    "col_idx[0] = -1 of query 0": ([0, 1], [0, 1, 2], [-1, 1]),
    "col_idx[1] = 1 of query 0": ([0, 1], [0, 2, 2], [1, 1]),
    "col_idx[1] = 0 of query 0": ([0, 1], [0, 2, 2], [1, 0]),
}


@pytest.mark.parametrize(("dtype", "head_dim"), EVERY_KERNEL)
@pytest.mark.parametrize("rule", CSR_RULES)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_csr_rule(device: str, rule: str, num_threads: int, dtype: str, head_dim: int) -> None:
    context = Context(device, num_threads)
    q, cache = (load(context, np.ones((rows, 2, head_dim)), dtype) for rows in (2, 6))
    first, second, third = (load(context, values, "i32") for values in CSR_RULES[rule])
    with pytest.raises(ArgumentError) as caught:
        run_to_end(context, ops.self_attention_paged, q, cache, cache, first, second, third, 1.0, q)
    assert f"self_attention_paged: {rule}" in str(caught.value)


@pytest.mark.parametrize(("dtype", "head_dim"), EVERY_KERNEL)
def test_columns_far_below_zero(context: Context, dtype: str, head_dim: int) -> None:
    """They ascend, so that the second is found by its sign alone."""
    q, cache = (load(context, np.ones((rows, 2, head_dim)), dtype) for rows in (2, 6))
    columns = [-2_000_000_000, -1_999_999_999]
    first, second, third = (load(context, values, "i32") for values in ([0, 1], [0, 2, 2], columns))
    sentences = [
        f"self_attention_paged: col_idx[{at}] = {column} of query 0 does not ascend or is outside "
        "2 used slots"
        for at, column in enumerate(columns)
    ]
    assert_names_one(
        context,
        lambda: ops.self_attention_paged(context, q, cache, cache, first, second, third, 1.0, q),
        sentences,
    )


# block_tables, context_lens and cu_seqlens_q over 2 queries and 6 slots in blocks of 2
PAGED_RULES = {
    "cu_seqlens_q must run from 0 to 2, got 0 to 1": ([[0]], [1], [0, 1]),
    "cu_seqlens_q must run from 0 to 2, got 1 to 2": ([[0]], [1], [1, 2]),
    "sequence 1 of 3 tokens cannot have -1 queries": ([[0, 1]] * 2, [3, 3], [0, 3, 2]),
    "sequence 0 of 1 tokens cannot have 2 queries": ([[0]], [1], [0, 2]),
    "sequence 0 of -1 tokens cannot have 0 queries": ([[0]] * 2, [-1, 2], [0, 0, 2]),
    "sequence 0 has 3 tokens, its table of 1 blocks holds 2": ([[0]], [3], [0, 2]),
    "block_tables[0, 1] = 3 is outside a cache of 3 blocks": ([[0, 3]], [3], [0, 2]),
    "block_tables[1, 0] = -1 is outside a cache of 3 blocks": ([[0], [-1]], [1, 1], [0, 1, 2]),
}


@pytest.mark.parametrize(("dtype", "head_dim"), EVERY_KERNEL)
@pytest.mark.parametrize("rule", PAGED_RULES)
def test_paged_rule(context: Context, rule: str, dtype: str, head_dim: int) -> None:
    skip_what_flashinfer_lacks(context, dtype, head_dim)
    q, cache = (load(context, np.ones((rows, 2, head_dim)), dtype) for rows in (2, 6))
    first, second, third = (load(context, values, "i32") for values in PAGED_RULES[rule])
    with pytest.raises(ArgumentError) as caught:
        run_to_end(context, ops.paged_attention, q, cache, cache, first, second, third, 2, 1.0, q)
    assert f"paged_attention: {rule}" in str(caught.value)


# The same over 2 queries and 48 slots in blocks of 16, for kernels that take no smaller ones; no
# batch here has as many queries as sequences, as a decode does.
PAGED_RULES_OF_16 = {
    "cu_seqlens_q must run from 0 to 2, got 0 to 1": ([[0]], [1], [0, 1]),
    "cu_seqlens_q must run from 0 to 2, got 1 to 2": ([[0]], [1], [1, 2]),
    "cu_seqlens_q must run from 0 to 2, got 0 to 3": ([[0]], [3], [0, 3]),
    "sequence 1 of 3 tokens cannot have -1 queries": ([[0, 1]] * 3, [3] * 3, [0, 3, 2, 2]),
    "sequence 0 of 1 tokens cannot have 2 queries": ([[0]], [1], [0, 2]),
    "sequence 0 of -1 tokens cannot have 0 queries": ([[0]] * 3, [-1, 2, 0], [0, 0, 2, 2]),
    "sequence 0 has 33 tokens, its table of 2 blocks holds 32": ([[0, 1]], [33], [0, 2]),
    "block_tables[0, 1] = 3 is outside a cache of 3 blocks": ([[0, 3]], [17], [0, 2]),
    "block_tables[0, 0] = 2000000000 is outside": ([[2_000_000_000, 1]], [32], [0, 2]),
    "block_tables[2, 0] = -1 is outside": ([[0], [0], [-1]], [0, 5, 2], [0, 0, 0, 2]),
}


@pytest.mark.parametrize(("dtype", "head_dim"), EVERY_KERNEL)
@pytest.mark.parametrize("rule", PAGED_RULES_OF_16)
def test_paged_rule_of_whole_blocks(context: Context, rule: str, dtype: str, head_dim: int) -> None:
    skip_what_flashinfer_lacks(context, dtype, head_dim)
    q, cache = (load(context, np.ones((rows, 2, head_dim)), dtype) for rows in (2, 48))
    metadata = [load(context, values, "i32") for values in PAGED_RULES_OF_16[rule]]
    with pytest.raises(ArgumentError) as caught:
        run_to_end(context, ops.paged_attention, q, cache, cache, *metadata, 16, 1.0, q)
    assert f"paged_attention: {rule}" in str(caught.value)


@pytest.mark.parametrize(("dtype", "head_dim"), EVERY_KERNEL)
def test_queries_beyond_32_bits(context: Context, dtype: str, head_dim: int) -> None:
    """Modulo 2^32 the second sequence has one query, number 2147483647, and the ends are right."""
    skip_what_flashinfer_lacks(context, dtype, head_dim)
    q, cache = (load(context, np.ones((rows, 2, head_dim)), dtype) for rows in (2, 6))
    values = ([[0, 1]] * 3, [3, 3, 3], [0, 2**31 - 1, -(2**31), 2])
    first, second, third = (load(context, array, "i32") for array in values)
    sentences = [
        f"paged_attention: sequence {sequence} of 3 tokens cannot have {queries} queries"
        for sequence, queries in enumerate([2**31 - 1, 1 - 2**32, 2**31 + 2])
    ]
    assert_names_one(
        context,
        lambda: ops.paged_attention(context, q, cache, cache, first, second, third, 2, 1.0, q),
        sentences,
    )


# Near what is allowed, far from it, and what wraps in 32 bits.
ENTRIES = st.sampled_from(
    [0, 1, 2, 3, 5, -1, -2, -9, 10**9, -(10**9), 2**31 - 1, -(2**31), 1 - 2**31]
)


@st.composite
def boundaries(draw: st.DrawFn, count: int, last: int) -> list[int]:
    """Where each of so many lists begins and the last ends: right, wrong, or right at both ends."""
    ascending = st.lists(st.integers(0, last), min_size=count + 1, max_size=count + 1).map(sorted)
    entries = draw(ascending | st.lists(ENTRIES, min_size=count + 1, max_size=count + 1))
    if draw(st.booleans()):
        entries[0], entries[-1] = 0, last
    return entries


@st.composite
def hostile_rows(draw: st.DrawFn) -> tuple[int, list[Any]]:
    """Queries, and their used_slots, row_ptr and col_idx."""
    queries = draw(st.integers(1, 4))
    columns = draw(st.lists(ENTRIES, max_size=6))
    row_ptr = draw(boundaries(queries, len(columns)))
    used = draw(st.lists(ENTRIES, max_size=6) | st.just([0, 1, 3, 5]))
    return queries, [used, row_ptr, columns]


@st.composite
def hostile_tables(draw: st.DrawFn) -> tuple[int, list[Any], int]:
    """Queries, their block_tables, context_lens and cu_seqlens_q, and the slots of a block."""
    queries, sequences, width = (draw(st.integers(1, most)) for most in (4, 4, 3))
    block_size = draw(st.sampled_from([2, 16]))
    blocks, tokens = st.integers(0, 2) | ENTRIES, st.integers(1, block_size * width) | ENTRIES
    tables = draw(st.lists(blocks, min_size=sequences * width, max_size=sequences * width))
    lengths = draw(st.lists(tokens, min_size=sequences, max_size=sequences))
    starts = draw(boundaries(sequences, queries))
    return queries, [np.reshape(tables, (sequences, width)), lengths, starts], block_size


def assert_stays_in_bounds(
    context: Context,
    operator: Callable[..., Any],
    dtype: str,
    head_dim: int,
    queries: int,
    slots: int,
    *metadata: object,
) -> None:
    """An operator may refuse such operands, and writes nothing but its result.

    What it reads where it may not, the device finds, or compute-sanitizer.
    """
    q, cache = (load(context, np.ones((rows, 2, head_dim)), dtype) for rows in (queries, slots))
    around = poisoned(context, (queries + 2, 2, head_dim), dtype)
    out = around.slice(0, 1, queries + 1)
    with contextlib.suppress(ArgumentError):
        run_to_end(context, operator, q, cache, cache, *metadata, 1.0, out)
    context.synchronize()
    assert np.isnan(fetch(around)[[0, -1]]).all()


@pytest.mark.parametrize(("dtype", "head_dim"), EVERY_KERNEL)
@given(rows=hostile_rows(), deterministic=st.booleans())
@examples(150)
def test_hostile_rows(
    device: str,
    dtype: str,
    head_dim: int,
    rows: tuple[int, list[Any]],
    deterministic: bool,
) -> None:
    context = Context(device, deterministic=deterministic)
    queries, values = rows
    first, second, third = (load(context, array, "i32") for array in values)
    assert_stays_in_bounds(
        context, ops.self_attention_paged, dtype, head_dim, queries, 6, first, second, third
    )


@pytest.mark.parametrize(("dtype", "head_dim"), EVERY_KERNEL)
@given(tables=hostile_tables(), deterministic=st.booleans())
@examples(150)
def test_hostile_tables(
    device: str,
    dtype: str,
    head_dim: int,
    tables: tuple[int, list[Any], int],
    deterministic: bool,
) -> None:
    context = Context(device, deterministic=deterministic)
    queries, values, block_size = tables
    metadata = [load(context, array, "i32") for array in values]
    slots = 3 * block_size
    assert_stays_in_bounds(
        context, ops.paged_attention, dtype, head_dim, queries, slots, *metadata, block_size
    )


@pytest.mark.parametrize("block_size", [0, -16, 2**31, 2**32])
def test_block_size_must_be_positive(context: Context, block_size: int) -> None:
    q = load(context, np.ones((1, 2, 4)), "f32")
    first, second, third = (load(context, values, "i32") for values in ([[0]], [1], [0, 1]))
    message = rf"block_size must be positive and fit into 32 bits, got {block_size}$"
    with pytest.raises(ArgumentError, match=message):
        ops.paged_attention(context, q, q, q, first, second, third, block_size, 1.0, q)
