"""What changes no bit of attention: form, company, where operands lie, threads, earlier calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stagegate._C import Context
from suites.ops.attention_batch import (
    BATCHES,
    FORMS,
    LARGE_BATCHES,
    QWEN,
    SMALL,
    Batch,
    Heads,
    make_batch,
    run_csr,
    run_dense,
    run_paged,
)
from suites.ops.operands import strided


@pytest.fixture
def one_order(device: str) -> Context:
    """Every operator adds up in one order, so they agree bit for bit."""
    return Context(device, deterministic=True)


@pytest.mark.parametrize("device", ["cuda"])
@pytest.mark.parametrize("name", LARGE_BATCHES)
def test_large_batch_alone_and_together(one_order: Context, dtype: str, name: str) -> None:
    """Split over blocks or not, in whatever form: the same bits."""
    batch = make_batch(*LARGE_BATCHES[name], ascending=True)
    dense, csr, paged = (form(one_order, batch, dtype) for form in FORMS)
    np.testing.assert_array_equal(csr, dense)
    np.testing.assert_array_equal(paged, dense)
    for sequence, length in enumerate(batch.context_lens):
        if batch.query_lens[sequence] == 0:
            continue
        last = batch.cu_seqlens_q[sequence + 1]
        alone = Batch(
            [length],
            [1],
            batch.heads,
            batch.block_size,
            batch.q[last - 1 : last],
            batch.k,
            batch.v,
            batch.block_tables[sequence : sequence + 1],
        )
        np.testing.assert_array_equal(run_paged(one_order, alone, dtype)[0], paged[last - 1])


@pytest.mark.parametrize("device", ["cuda"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_calls_leave_nothing_behind(device: str, dtype: str, deterministic: bool) -> None:
    """In scratch memory and counters, which calls of other shapes on the same context find."""
    batches = [
        make_batch([2000, 300], [1, 1], Heads(12, 2, 128)),
        make_batch([30] * 128, [1] * 128, Heads(28, 4, 128)),
        make_batch([300, 40], [200, 40], QWEN),
        make_batch([9, 700, 65], [1, 1, 1], QWEN),
    ]
    calls = [(form, batch) for batch in batches for form in (run_csr, run_paged)]
    expected = [
        form(Context(device, deterministic=deterministic), batch, dtype) for form, batch in calls
    ]
    context = Context(device, deterministic=deterministic)
    for _ in range(3):
        for (form, batch), once in zip(calls, expected, strict=True):
            np.testing.assert_array_equal(form(context, batch, dtype), once)


@pytest.mark.parametrize("name", ["mixture", "one key head", "a head each"])
def test_forms_agree_to_the_bit(one_order: Context, dtype: str, name: str) -> None:
    batch = make_batch(*BATCHES[name], ascending=True)
    dense, csr, paged = (form(one_order, batch, dtype) for form in FORMS)
    np.testing.assert_array_equal(csr, dense)
    np.testing.assert_array_equal(paged, dense)


@pytest.mark.parametrize("query_lens", [[1, 1, 1, 1], [1, 5, 3, 16]], ids=["decode", "mixture"])
@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("operand", ["q", "k", "v"])
def test_strided_rows(
    context: Context,
    dtype: str,
    operand: str,
    form: Callable[..., Any],
    head_dim: int,
    query_lens: list[int],
) -> None:
    if context.attention == "flashinfer" and form is run_paged and operand != "q":
        pytest.skip("FlashInfer takes rows of keys and values that are equally far apart")
    batch = make_batch([33, 5, 129, 16], query_lens, Heads(6, 2, head_dim), ascending=True)
    np.testing.assert_array_equal(
        form(context, batch, dtype, **{operand: strided}), form(context, batch, dtype)
    )


@pytest.mark.parametrize("form", FORMS)
def test_threads_do_not_change_the_result(
    context: Context, two_threads: Context, dtype: str, form: Callable[..., Any]
) -> None:
    batch = make_batch(*BATCHES["mixture"], ascending=True)
    np.testing.assert_array_equal(form(context, batch, dtype), form(two_threads, batch, dtype))


def test_where_blocks_lie_changes_nothing(one_order: Context, dtype: str) -> None:
    batch = make_batch(*BATCHES["mixture"])
    np.testing.assert_array_equal(
        run_paged(one_order, batch, dtype), run_dense(one_order, batch, dtype)
    )


@pytest.mark.parametrize("block_size", [1, 2, 3, 16, 100])
def test_block_size_changes_nothing(context: Context, dtype: str, block_size: int) -> None:
    batch = make_batch(*BATCHES["mixture"][:2], SMALL, block_size)
    np.testing.assert_array_equal(
        run_paged(context, batch, dtype), run_dense(context, batch, dtype)
    )


def test_neighbours_change_nothing(context: Context, dtype: str) -> None:
    if context.attention == "flashinfer":
        pytest.skip("how FlashInfer cuts the keys of a sequence depends on its neighbours")
    batch = make_batch(*BATCHES["mixture"])
    whole = run_paged(context, batch, dtype)
    first, last = batch.cu_seqlens_q[2], batch.cu_seqlens_q[3]
    alone = Batch(
        batch.context_lens[2:3],
        batch.query_lens[2:3],
        batch.heads,
        batch.block_size,
        batch.q[first:last],
        batch.k,
        batch.v,
        batch.block_tables[2:3],
    )
    np.testing.assert_array_equal(run_paged(context, alone, dtype), whole[first:last])
