"""The three attention operators, each through the same cases.

A case is a batch of sequences, some of whose last positions are queries. It is written down in
three ways: keys in order for self_attention, rows of slots for self_attention_paged, and block
tables for paged_attention. Whatever no query sees is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate._C import Context, Tensor, copy, empty
from stagegate.errors import OutOfMemoryError
from suites.ops.attention_batch import (
    BATCHES,
    FORMS,
    LARGE_BATCHES,
    QWEN,
    SMALL,
    Batch,
    Heads,
    assert_exact_enough,
    csr_rows,
    make_batch,
    roundings,
    run_csr,
    run_paged,
    run_rows,
)
from suites.ops.examples import examples
from suites.ops.operands import load, shifted


@pytest.mark.criterion("s3.cpu-match")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", BATCHES)
def test_agrees_with_float64(
    context: Context, dtype: str, form: Callable[..., Any], name: str
) -> None:
    batch = make_batch(*BATCHES[name])
    assert_exact_enough(
        form(context, batch, dtype),
        batch,
        batch.visible(),
        dtype,
        roundings=roundings(context, form, batch, dtype),
    )


@pytest.mark.criterion("s3.cpu-match")
@pytest.mark.parametrize("device", ["cuda"])
@pytest.mark.parametrize("bias", [0.0, 200.0])
@pytest.mark.parametrize("block_size", [16, 64])
@pytest.mark.parametrize("name", LARGE_BATCHES)
def test_large_batch_agrees_with_float64(
    context: Context, dtype: str, name: str, block_size: int, bias: float
) -> None:
    """Large enough for every kernel of a GPU; the CPU has one kernel and shows it above."""
    batch = make_batch(*LARGE_BATCHES[name], block_size)
    batch.k[..., ::16] += bias
    actual = run_paged(context, batch, dtype)
    rounded_by = roundings(context, run_paged, batch, dtype)
    assert_exact_enough(actual, batch, batch.visible(), dtype, roundings=rounded_by)


@pytest.mark.criterion("s3.ragged")
@pytest.mark.parametrize("device", ["cuda"])
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("form", [run_csr, run_paged])
@pytest.mark.parametrize(
    "heads",
    [QWEN, Heads(12, 2, 128), Heads(28, 4, 128), Heads(40, 2, 64), Heads(40, 2, 128)],
    ids=lambda heads: f"{heads.query}-{heads.key}-{heads.dim}",
)
def test_decode_of_many_sequences(
    context: Context, dtype: str, form: Callable[..., Any], heads: Heads
) -> None:
    """More thread blocks than run at once, so that no keys are split: many tiles for each warp."""
    lengths = np.random.default_rng(3).integers(1, 700, 512 // heads.key).tolist()
    batch = make_batch(lengths, [1] * len(lengths), heads, 32)
    rounded_by = roundings(context, form, batch, dtype)
    actual = form(context, batch, dtype)
    assert_exact_enough(actual, batch, batch.visible(), dtype, roundings=rounded_by)


@pytest.mark.criterion("s3.ragged")
@pytest.mark.parametrize("device", ["cuda"])
@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("block_size", [8, 16, 24, 32, 128, 256])
@pytest.mark.parametrize("group", [1, 2, 3, 5, 6, 7, 8, 17, 64, 65])
def test_prefill_of_any_group_and_block(
    context: Context, group: int, block_size: int, head_dim: int
) -> None:
    """A tile of 128 or 192 rows has as many whole queries as fit; one of keys has 128."""
    tile = 128 // group
    queries = [tile + 1, 1, max(tile, 1), 130]
    lengths = [tile + 1, 257, 128 + max(tile, 1), 300]
    batch = make_batch(lengths, queries, Heads(2 * group, 2, head_dim), block_size)
    rounded_by = roundings(context, run_paged, batch, "bf16")
    actual = run_paged(context, batch, "bf16")
    assert_exact_enough(actual, batch, batch.visible(), "bf16", roundings=rounded_by)


@pytest.mark.criterion("s3.ragged")
@pytest.mark.parametrize("device", ["cuda"])
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("form", [run_csr, run_paged])
@pytest.mark.parametrize("block_size", [16, 256])
@pytest.mark.parametrize("query_lens", [[1, 1, 1], [70, 1, 9]], ids=["decode", "mixture"])
def test_long_contexts(
    device: str,
    query_lens: list[int],
    block_size: int,
    form: Callable[..., Any],
    deterministic: bool,
) -> None:
    """As long as the models take. The first and last query of a sequence and half of the heads are
    compared: float64 has its time.
    """
    context = Context(device, deterministic=deterministic)
    batch = make_batch([33_001, 40, 32_768], query_lens, QWEN, block_size)
    actual = form(context, batch, "bf16")
    rows = np.unique([batch.cu_seqlens_q[:-1], batch.cu_seqlens_q[1:] - 1])
    group = QWEN.query // QWEN.key
    compared = replace(
        batch,
        heads=Heads(group, 1, QWEN.dim),
        q=batch.q[rows, -group:],
        k=batch.k[:, -1:],
        v=batch.v[:, -1:],
    )
    assert_exact_enough(
        actual[rows, -group:],
        compared,
        [batch.visible()[row] for row in rows],
        "bf16",
        roundings=roundings(context, form, batch, "bf16"),
    )


# A slot of 128 elements behind so many begins 2^31 elements into its cache, at 4.3 GB of 16 bits.
SLOTS_BEFORE = 2**31 // 128


def behind_others(context: Context, values: np.ndarray, dtype: str) -> Tensor:
    first, end = SLOTS_BEFORE, SLOTS_BEFORE + len(values)
    try:
        cache = empty([end, *values.shape[1:]], dtype, context.device)
    except OutOfMemoryError as error:
        pytest.skip(str(error))
    copy(load(context, values, dtype), cache.slice(0, first, end))
    return cache


@pytest.mark.unsanitized
@pytest.mark.parametrize("device", ["cuda"])
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("form", [run_csr, run_paged])
@pytest.mark.parametrize("query_lens", [[1, 1], [40, 1]], ids=["decode", "mixture"])
@pytest.mark.parametrize("heads", [QWEN, Heads(7, 1, 128)])
def test_end_of_a_cache_beyond_31_bits(
    device: str,
    dtype: str,
    heads: Heads,
    query_lens: list[int],
    form: Callable[..., Any],
    deterministic: bool,
) -> None:
    """It holds what its beginning does."""
    context = Context(device, deterministic=deterministic)
    batch = make_batch([300, 90], query_lens, heads)
    last = replace(batch, block_tables=batch.block_tables + SLOTS_BEFORE // batch.block_size)
    np.testing.assert_array_equal(
        form(context, last, dtype, k=behind_others, v=behind_others), form(context, batch, dtype)
    )


@pytest.mark.criterion("s3.cpu-match")
@pytest.mark.parametrize("query_lens", [[1, 1], [40, 1]], ids=["decode", "mixture"])
@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("operand", ["q", "k", "v", "out"])
def test_operands_may_start_anywhere(
    context: Context,
    dtype: str,
    operand: str,
    form: Callable[..., Any],
    head_dim: int,
    query_lens: list[int],
) -> None:
    """Not only where 16 bytes begin, as kernels on tensor cores need."""
    if context.attention == "flashinfer" and form is run_paged:
        pytest.skip("FlashInfer refuses such rows")
    batch = make_batch([130, 33], query_lens, Heads(4, 2, head_dim))
    actual = form(context, batch, dtype, **{operand: shifted})
    rounded_by = roundings(context, form, batch, dtype)
    assert_exact_enough(actual, batch, batch.visible(), dtype, roundings=rounded_by)


@pytest.mark.criterion("s3.ragged")
@pytest.mark.parametrize("heads", [Heads(6, 2, 24), QWEN, Heads(20, 1, 128)])
def test_rows_of_any_choice(context: Context, dtype: str, heads: Heads) -> None:
    """Every row sees its own slots; some see none and give zeros."""
    batch = make_batch([300], [9], heads, ascending=True)
    random = np.random.default_rng(2)
    used = batch.slots(0)
    lengths = [1, 0, 300, 33, 64, 65, 0, 2, 257]
    columns = [np.sort(random.permutation(300)[:length]) for length in lengths]
    actual = run_rows(context, batch, columns, used, dtype)
    rounded_by = roundings(context, run_csr, batch, dtype)
    visible = [used[row] for row in columns]
    assert_exact_enough(actual, batch, visible, dtype, roundings=rounded_by)
    assert not actual[[1, 6]].any()


@pytest.mark.criterion("s3.ragged")
@pytest.mark.parametrize("name", BATCHES)
def test_padded_rows(device: str, dtype: str, name: str) -> None:
    """In one order of summation, for tensor cores may split the keys of a longer operand more."""
    context = Context(device, deterministic=True)
    batch = make_batch(*BATCHES[name])
    rows = csr_rows(batch)
    expected = run_rows(context, batch, *rows, dtype)
    np.testing.assert_array_equal(run_rows(context, batch, *rows, dtype, padding=1), expected)
    np.testing.assert_array_equal(run_rows(context, batch, *rows, dtype, padding=100), expected)
    context = Context(device)
    actual = run_rows(context, batch, *rows, dtype, padding=100)
    rounded_by = roundings(context, run_csr, batch, dtype)
    assert_exact_enough(actual, batch, batch.visible(), dtype, roundings=rounded_by)


@pytest.mark.criterion("s3.ragged")
@pytest.mark.parametrize("heads", [SMALL, QWEN])
def test_all_rows_empty(context: Context, dtype: str, heads: Heads) -> None:
    batch = make_batch([5], [5], heads)
    actual = run_rows(context, batch, [np.array([], int)] * 5, np.array([], int), dtype)
    assert not actual.any()


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    query_lens = draw(st.lists(st.integers(0, 20), min_size=1, max_size=5))
    cached = [draw(st.integers(0, 80)) for _ in query_lens]
    key_heads = draw(st.integers(1, 3))
    heads = Heads(key_heads * draw(st.integers(1, 10)), key_heads, draw(st.integers(1, 40)))
    lengths = [a + b for a, b in zip(query_lens, cached, strict=True)]
    return make_batch(
        lengths,
        query_lens,
        heads,
        draw(st.integers(1, 20)),
        ascending=True,
        seed=draw(st.integers(0, 99)),
    )


@pytest.mark.criterion("s3.ragged")
@given(batch=batches())
@examples(40)
def test_any_batch(device: str, batch: Batch) -> None:
    context = Context(device)
    dense, csr, paged = (form(context, batch, "f32") for form in FORMS)
    np.testing.assert_array_equal(csr, dense)
    np.testing.assert_array_equal(paged, dense)
    assert_exact_enough(paged, batch, batch.visible(), "f32")


@st.composite
def wide_batches(draw: st.DrawFn) -> Batch:
    """Decodes and mixtures in shapes of the models, with contexts worth splitting."""
    decode = draw(st.booleans())
    query_lens = draw(st.lists(st.integers(1, 1 if decode else 9), min_size=1, max_size=5))
    cached = [draw(st.integers(0, 900)) for _ in query_lens]
    lengths = [a + b for a, b in zip(query_lens, cached, strict=True)]
    heads = draw(
        st.sampled_from(
            [QWEN, Heads(12, 2, 128), Heads(7, 1, 128), Heads(3, 3, 64), Heads(20, 1, 64)]
        )
    )
    block_size = draw(st.sampled_from([1, 7, 16, 64]))
    seed = draw(st.integers(0, 99))
    return make_batch(lengths, query_lens, heads, block_size, ascending=True, seed=seed)


@pytest.mark.criterion("s3.ragged")
@given(batch=wide_batches(), dtype=st.sampled_from(["f16", "bf16"]))
@examples(25)
def test_any_wide_batch(device: str, batch: Batch, dtype: str) -> None:
    context = Context(device)
    for form in (run_csr, run_paged):
        actual = form(context, batch, dtype)
        rounded_by = roundings(context, form, batch, dtype)
        assert_exact_enough(actual, batch, batch.visible(), dtype, roundings=rounded_by)


@pytest.mark.parametrize("form", [run_csr, run_paged])
@pytest.mark.parametrize("context_len", [63, 64, 65, 4096, 20000])
def test_a_split_decode(context: Context, form: Callable[..., Any], context_len: int) -> None:
    """Of one sequence, whose keys have to be spread to keep a GPU busy."""
    batch = make_batch([context_len], [1], Heads(7, 1, 128), 32, ascending=True)
    rounded_by = roundings(context, form, batch, "bf16")
    for _ in range(2):  # what counts the blocks that are done has to begin again
        actual = form(context, batch, "bf16")
        assert_exact_enough(actual, batch, batch.visible(), "bf16", roundings=rounded_by)


@pytest.mark.parametrize("device", ["cuda"])
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("heads", [Heads(7, 1, 128), Heads(14, 2, 64)])
@pytest.mark.parametrize("queries", [2, 45])
@pytest.mark.parametrize("context_len", [2047, 2048, 2049, 9000, 20000])
def test_a_split_prefill(
    context: Context, dtype: str, context_len: int, queries: int, heads: Heads
) -> None:
    """A few queries behind a long prefix, whose keys have to be spread to keep a GPU busy."""
    batch = make_batch([context_len, 40], [queries, 3], heads, 32)
    rounded_by = roundings(context, run_paged, batch, dtype)
    first = run_paged(context, batch, dtype)
    assert_exact_enough(first, batch, batch.visible(), dtype, roundings=rounded_by)
    # What counts the pieces that are done begins again, and they are added up in one order.
    np.testing.assert_array_equal(run_paged(context, batch, dtype), first)


@pytest.mark.parametrize("device", ["cuda"])
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("heads", [Heads(12, 2, 128), QWEN])
def test_a_step_of_decodes_and_chunks(context: Context, dtype: str, heads: Heads) -> None:
    """More tiles than thread blocks, decodes with long contexts before a chunk and a prompt."""
    lengths = [900] * 70 + [1500, 300]
    batch = make_batch(lengths, [1] * 70 + [200, 300], heads)
    rounded_by = roundings(context, run_paged, batch, dtype)
    actual = run_paged(context, batch, dtype)
    assert_exact_enough(actual, batch, batch.visible(), dtype, roundings=rounded_by)


@pytest.mark.parametrize("device", ["cuda"])
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("length", [1, 17, 127, 129, 250])
def test_what_lies_behind_a_sequence(
    context: Context, dtype: str, length: int, head_dim: int
) -> None:
    """The rest of its last block, which may be infinite, and so may the blocks of others."""
    batch = make_batch([length, 300], [length, 2], Heads(6, 2, head_dim), 16)
    unused = np.isnan(batch.v)
    expected = run_paged(context, batch, dtype)
    batch.k[unused] = -np.inf
    batch.v[unused] = np.inf
    np.testing.assert_array_equal(run_paged(context, batch, dtype), expected)
    assert np.isfinite(expected).all()
