"""FlashInfer's attention beside ours and beside float64, where it cuts keys and where it does not.

The cases of test_attention.py and test_attention_metadata.py run on it too, under
--attention-backend flashinfer --device nvidia.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate._C import Context, ops
from stagegate.errors import ArgumentError
from suites.ops.attention_batch import (
    QWEN,
    Batch,
    Heads,
    assert_exact_enough,
    make_batch,
    roundings,
    run_paged,
)
from suites.ops.bounds import UNIT_ROUNDOFF
from suites.ops.examples import examples
from suites.ops.operands import Place, load, poisoned, strided

pytestmark = pytest.mark.requires_flashinfer

GROUP_6 = Heads(12, 2, 128)
GROUP_7 = Heads(28, 4, 128)
CASES = {
    "one token": ([1], [1], GROUP_6),
    "decode of a long sequence": ([32000], [1], GROUP_6),
    "decode of unequal sequences": ([9000, 3, 129, 1], [1, 1, 1, 1], GROUP_7),
    "decode without cuts": ([200] * 140, [1] * 140, GROUP_6),
    "prefill with cuts": ([700], [700], GROUP_7),
    "prefill without cuts": ([300] * 5, [300] * 5, GROUP_7),
    "prefill behind a long prefix": ([8000, 300], [200, 45], GROUP_6),
    "tiles of 64 rows": ([300, 40, 7], [9, 8, 7], QWEN),
    "sequences without queries": ([40, 0, 600, 9, 12, 0], [1, 0, 0, 4, 0, 0], GROUP_7),
    "a group wider than a tile": ([400, 3, 5, 9], [1, 0, 0, 1], Heads(20, 1, 64)),
    "more key heads than multiprocessors": ([300], [1], Heads(300, 300, 64)),
}


@pytest.fixture(scope="module")
def flashinfer() -> Context:
    return Context("cuda", attention="flashinfer")


@pytest.fixture(scope="module")
def native() -> Context:
    return Context("cuda")


def check(context: Context, batch: Batch, dtype: str, place: Place = load) -> np.ndarray:
    actual = run_paged(context, batch, dtype, q=place)
    rounded_by = roundings(context, run_paged, batch, dtype)
    assert_exact_enough(actual, batch, batch.visible(), dtype, roundings=rounded_by)
    return actual


def widened(batch: Batch, width: int) -> Batch:
    """The same with tables that have room for more."""
    tables = np.full((len(batch.block_tables), width), -7)
    tables[:, : batch.block_tables.shape[1]] = batch.block_tables
    return replace(batch, block_tables=tables)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("block_size", [16, 256])
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_float64_and_ours(
    flashinfer: Context, native: Context, name: str, block_size: int, dtype: str
) -> None:
    batch = make_batch(*CASES[name], block_size)
    actual = check(flashinfer, batch, dtype)
    difference = np.abs(actual - run_paged(native, batch, dtype))
    # Both round at most five times what is at most the largest value.
    assert difference.max(initial=0) <= 10 * UNIT_ROUNDOFF[dtype] * np.nanmax(np.abs(batch.v))


@pytest.mark.parametrize("name", ["one token", "decode of unequal sequences", "tiles of 64 rows"])
def test_tables_may_be_wider_than_sequences(flashinfer: Context, name: str) -> None:
    """As they are in a captured step; what is cut depends on lengths as well."""
    check(flashinfer, widened(make_batch(*CASES[name]), 2048), "bf16")


@pytest.mark.parametrize("name", ["decode of unequal sequences", "prefill behind a long prefix"])
def test_rows_of_queries_may_be_strided(flashinfer: Context, name: str) -> None:
    check(flashinfer, make_batch(*CASES[name]), "bf16", strided)


@given(
    lens=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 900)), min_size=1, max_size=40),
    heads=st.sampled_from([GROUP_6, GROUP_7, QWEN, Heads(4, 4, 64), Heads(9, 1, 128)]),
    block_size=st.sampled_from([1, 5, 16, 64]),
    spare=st.integers(0, 50),
    seed=st.integers(0, 99),
)
@examples(40)
def test_any_batch(
    lens: list[tuple[int, int]], heads: Heads, block_size: int, spare: int, seed: int
) -> None:
    queries = [count for count, _ in lens]
    contexts = [count + before for count, before in lens]
    batch = make_batch(contexts, queries, heads, block_size, seed=seed)
    batch = widened(batch, batch.block_tables.shape[1] + spare)
    check(Context("cuda", attention="flashinfer"), batch, "bf16")


def test_calls_in_a_row_share_memory(flashinfer: Context) -> None:
    """Each plans in the scratch memory of the stream, where the plan before lies."""
    batches = [make_batch(*CASES[name]) for name in CASES if "multiprocessors" not in name]
    expected = [run_paged(flashinfer, batch, "bf16") for batch in batches]
    outs = []
    for batch in batches:
        operands = [load(flashinfer, values, "bf16") for values in (batch.q, batch.k, batch.v)]
        metadata = [
            load(flashinfer, values, "i32")
            for values in (batch.block_tables, batch.context_lens, batch.cu_seqlens_q)
        ]
        out = poisoned(flashinfer, batch.q.shape, "bf16")
        outs.append((operands, metadata, batch, out))
    for (q, k, v), (tables, lengths, starts), batch, out in outs:
        ops.paged_attention(
            flashinfer, q, k, v, tables, lengths, starts, batch.block_size, batch.scale, out
        )
    flashinfer.synchronize()
    for (_, _, _, out), once in zip(outs, expected, strict=True):
        np.testing.assert_array_equal(out.to(device="cpu").numpy(), once)


@pytest.mark.parametrize(
    ("dtype", "heads", "scale", "words"),
    [
        ("f32", GROUP_6, 1.0, 'takes f16 and bf16, q is .*f32.*; use attention="native"'),
        ("bf16", Heads(4, 2, 32), 1.0, "takes head_dim 64 and 128, got 32"),
        ("bf16", GROUP_6, 0.0, "takes a scale above 0, got 0"),
        ("bf16", GROUP_6, -1.0, "takes a scale above 0, got -1"),
    ],
)
def test_what_it_has_no_kernel_for_is_refused(
    flashinfer: Context, dtype: str, heads: Heads, scale: float, words: str
) -> None:
    q = load(flashinfer, np.ones((1, heads.query, heads.dim)), dtype)
    cache = load(flashinfer, np.ones((16, heads.key, heads.dim)), dtype)
    first, second, third = (load(flashinfer, values, "i32") for values in ([[0]], [5], [0, 1]))
    with pytest.raises(ArgumentError, match=words):
        ops.paged_attention(flashinfer, q, cache, cache, first, second, third, 16, scale, q)


def test_rows_have_to_be_aligned(flashinfer: Context) -> None:
    q = load(flashinfer, np.ones(129), "bf16").slice(0, 1, 129).view([1, 2, 64])
    cache = load(flashinfer, np.ones((16, 2, 64)), "bf16")
    first, second, third = (load(flashinfer, values, "i32") for values in ([[0]], [5], [0, 1]))
    out = poisoned(flashinfer, (1, 2, 64), "bf16")
    with pytest.raises(ArgumentError, match="rows at multiples of 16 bytes, q is"):
        ops.paged_attention(flashinfer, q, cache, cache, first, second, third, 16, 1.0, out)


def test_it_is_never_deterministic() -> None:
    with pytest.raises(ArgumentError, match='deterministic=True with attention="flashinfer"'):
        Context("cuda", deterministic=True, attention="flashinfer")
