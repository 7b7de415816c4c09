"""Benchmark: what a decode by rows costs beside its layers, at the dimensions of Qwen2-1.5B."""

from __future__ import annotations

import numpy as np
import pytest

from stagegate._C import Context, ops
from stagegate_harness.ceilings import Ceilings
from stagegate_harness.measure import Measure
from suites.ops.attention_batch import Heads, assert_exact_enough, make_batch, roundings, run_paged
from suites.ops.decode_state import DeviceRows, Operands, RowModel, assert_gathered, row_changes
from suites.ops.operands import cold, fetch, load, poisoned
from suites.ops.sampling_batch import SCALARS

HEADS = Heads(12, 2, 128)
BLOCK_SIZE = 16
CONTEXT_LEN = 1024
LONGEST = 32_768
WIDTH = LONGEST // BLOCK_SIZE
DTYPE = "bf16"
ITEM_BYTES = 2

pytestmark = pytest.mark.benchmark(group="operators")


@pytest.fixture
def threads(device: str, num_threads: int) -> Context:
    """As the engine calls them by default."""
    return Context(device, num_threads=num_threads, deterministic=device == "cpu")


@pytest.mark.parametrize(("batch", "padding"), [(1, 0), (8, 0), (16, 0), (64, 0), (200, 56)])
def test_decode_attention_by_wide_tables(
    measure: Measure, ceilings: Ceilings, threads: Context, batch: int, padding: int
) -> None:
    """Tables have the width of the longest sequence, of which most splits of the keys are empty.

    Padding should cost nothing.
    """
    lengths = [CONTEXT_LEN] * batch + [0] * padding
    sequences = make_batch(lengths, [1] * len(lengths), HEADS, BLOCK_SIZE)
    q, out = load(threads, sequences.q, DTYPE), poisoned(threads, sequences.q.shape, DTYPE)
    moved_bytes = ITEM_BYTES * (
        2 * batch * CONTEXT_LEN * HEADS.key * HEADS.dim + 2 * sequences.q.size
    )
    keys_and_values = cold(
        lambda: [load(threads, values, DTYPE) for values in (sequences.k, sequences.v)], moved_bytes
    )
    tables = np.full((len(lengths), WIDTH), -7)
    tables[:, : sequences.block_tables.shape[1]] = sequences.block_tables
    block_tables = load(threads, tables, "i32")
    context_lens = load(threads, sequences.context_lens, "i32")
    cu_seqlens_q = load(threads, sequences.cu_seqlens_q, "i32")

    def call() -> None:
        keys, values = keys_and_values()
        ops.paged_attention(
            threads, q, keys, values, block_tables, context_lens, cu_seqlens_q,
            BLOCK_SIZE, sequences.scale, out,
        )  # fmt: skip

    measure.operator(
        call,
        ceilings,
        wait=threads.synchronize,
        moved_bytes=moved_bytes,
        flops=4 * batch * HEADS.query * HEADS.dim * CONTEXT_LEN,
    )
    rounded_by = roundings(threads, run_paged, sequences, DTYPE)
    assert_exact_enough(fetch(out), sequences, sequences.visible(), DTYPE, roundings=rounded_by)


@pytest.mark.parametrize("batch", [8, 256])
def test_gather_rows(measure: Measure, ceilings: Ceilings, threads: Context, batch: int) -> None:
    columns = dict.fromkeys(SCALARS, 1.0)
    blocks = CONTEXT_LEN // BLOCK_SIZE + 1
    models = {
        row: RowModel(row, CONTEXT_LEN, dict(columns), list(range(row, row + blocks)))
        for row in range(batch)
    }
    state = DeviceRows(threads, batch, WIDTH)
    entries = [
        (row, index, block)
        for row, model in models.items()
        for index, block in enumerate(model.blocks)
    ]
    ops.set_rows(threads, row_changes(threads, models, entries), state.state)
    order = np.random.default_rng(0).permutation(batch).tolist()
    rows = load(threads, order, "i32")
    operands = Operands(threads, batch, WIDTH)
    measure.operator(
        lambda: ops.gather_rows(threads, state.state, rows, BLOCK_SIZE, operands.out),
        ceilings,
        wait=threads.synchronize,
        moved_bytes=2 * batch * (4 * blocks + 4 * len(columns)),
        flops=0,
    )
    assert_gathered(operands.fetch(), [models[row] for row in order], BLOCK_SIZE)
