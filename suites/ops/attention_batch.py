"""Batches for the attention operators, what runs them in each form, and how exact that must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from stagegate._C import Context, Tensor, ops
from suites.ops import references
from suites.ops.bounds import F32, HALF_SMALLEST, UNIT_ROUNDOFF, assert_within, sum_error
from suites.ops.operands import Place, fetch, load, rounded


@dataclass(frozen=True)
class Heads:
    query: int
    key: int
    dim: int


QWEN = Heads(14, 2, 64)
SMALL = Heads(4, 2, 8)

# What make_batch takes: context lengths, queries, heads.
BATCHES = {
    "one token": ([1], [1], SMALL),
    "prefill": ([70], [70], SMALL),
    "decode": ([1, 17, 64, 65, 130], [1, 1, 1, 1, 1], SMALL),
    "mixture": ([33, 5, 129, 16, 40], [1, 5, 3, 16, 7], QWEN),
    "waiting sequence": ([9, 12, 4, 0], [2, 0, 4, 0], SMALL),
    "a head each": ([20, 3], [4, 3], Heads(3, 3, 33)),
    "one key head": ([66, 2], [3, 1], Heads(9, 1, 20)),
    "head_dim 1": ([19], [6], Heads(2, 1, 1)),
    "head_dim 128": ([37, 18], [2, 18], Heads(8, 8, 128)),
    "no query": ([], [], SMALL),
}

# Lengths around the edges of a tile of 64 keys, a tile of 64 rows and a chunk of 256 keys.
LARGE_BATCHES = {
    "decode, 6 heads a key": ([1, 255, 256, 257, 511, 513, 1000, 2000], [1] * 8, Heads(12, 2, 128)),
    "decode, 7 heads a key": ([300, 64, 700], [1, 1, 1], Heads(28, 4, 128)),
    "decode, 1 head a key": ([40, 600], [1, 1], Heads(2, 2, 64)),
    "prefill, 7 heads a key": ([63, 64, 65, 128, 129], [63, 64, 65, 128, 129], QWEN),
    "prefill, 6 heads a key": ([191, 7], [191, 7], Heads(6, 1, 128)),
    "prefill, 1 head a key": ([200, 3], [200, 3], Heads(2, 2, 128)),
    "prefill behind a prefix": ([300, 1000], [45, 130], Heads(12, 2, 128)),
    "mixture": ([700, 1, 300, 64, 0, 2000], [1, 1, 100, 64, 0, 3], Heads(28, 4, 128)),
    "more than 8 heads a key": ([300, 40], [10, 1], Heads(9, 1, 64)),
}


@dataclass(frozen=True)
class Batch:
    """Sequences of context_lens tokens whose last query_lens are queries."""

    context_lens: list[int]
    query_lens: list[int]
    heads: Heads
    block_size: int
    q: np.ndarray  # [T, query heads, dim]
    k: np.ndarray  # [S, key heads, dim]; NaN where no sequence has a token
    v: np.ndarray
    block_tables: np.ndarray  # [B, W]; -7 past the last block of a sequence

    @property
    def scale(self) -> float:
        return self.heads.dim**-0.5  # type: ignore[no-any-return]

    @property
    def cu_seqlens_q(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.query_lens)]).astype(int)

    def slots(self, sequence: int) -> np.ndarray:
        """Slots of the tokens of a sequence, in order of position."""
        positions = np.arange(self.context_lens[sequence])
        blocks = self.block_tables[sequence, positions // self.block_size]
        return blocks * self.block_size + positions % self.block_size  # type: ignore[no-any-return]

    def visible(self) -> list[np.ndarray]:
        """Slots that each query sees."""
        return [
            self.slots(sequence)[: length - queries + t + 1]
            for sequence, (length, queries) in enumerate(
                zip(self.context_lens, self.query_lens, strict=True)
            )
            for t in range(queries)
        ]


def make_batch(
    context_lens: list[int],
    query_lens: list[int],
    heads: Heads,
    block_size: int = 16,
    *,
    ascending: bool = False,
    seed: int = 1,
) -> Batch:
    """Random values in blocks in random order; ascending ones make all forms add up alike."""
    random = np.random.default_rng(seed)
    num_blocks = [-(-length // block_size) for length in context_lens]
    spare = 2
    total = sum(num_blocks) + spare
    free = np.sort(random.permutation(total)[: sum(num_blocks)])
    order = free if ascending else random.permutation(free)
    block_tables = np.full((len(context_lens), max([1, *num_blocks])), -7)
    for sequence, count in enumerate(num_blocks):
        start = sum(num_blocks[:sequence])
        block_tables[sequence, :count] = order[start : start + count]
    shape = (total * block_size, heads.key, heads.dim)
    batch = Batch(
        context_lens,
        query_lens,
        heads,
        block_size,
        random.standard_normal((sum(query_lens), heads.query, heads.dim)),
        np.full(shape, np.nan),
        np.full(shape, np.nan),
        block_tables,
    )
    for sequence in range(len(context_lens)):
        slots = batch.slots(sequence)
        batch.k[slots] = random.standard_normal((len(slots), heads.key, heads.dim))
        batch.v[slots] = random.standard_normal((len(slots), heads.key, heads.dim))
    return batch


def skip_what_flashinfer_lacks(context: Context, dtype: str, head_dim: int) -> None:
    if context.attention == "flashinfer" and not (dtype != "f32" and head_dim in (64, 128)):
        pytest.skip("FlashInfer takes f16 and bf16, and heads of 64 and 128")


def placed(
    context: Context,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    dtype: str,
    places: Mapping[str, Place],
) -> list[Tensor]:
    """These and `out`, a result nobody has written yet: each as its place says, else loaded."""
    values = {"q": q, "k": k, "v": v, "out": np.full(q.shape, np.nan)}
    assert places.keys() <= values.keys()
    return [places.get(name, load)(context, array, dtype) for name, array in values.items()]


def fetch_sound(context: Context, out: Tensor) -> np.ndarray:
    """A result whose operator found nothing wrong, which on a GPU only who waits is told."""
    context.synchronize()
    return fetch(out)


def run_paged(context: Context, batch: Batch, dtype: str, **places: Place) -> np.ndarray:
    skip_what_flashinfer_lacks(context, dtype, batch.heads.dim)
    q, k, v, out = placed(context, batch.q, batch.k, batch.v, dtype, places)
    metadata = paged_metadata(context, batch)
    ops.paged_attention(context, q, k, v, *metadata, batch.block_size, batch.scale, out)  # type: ignore[call-arg]
    return fetch_sound(context, out)


def paged_metadata(context: Context, batch: Batch) -> Any:
    """block_tables, context_lens and cu_seqlens_q."""
    values = (batch.block_tables, batch.context_lens, batch.cu_seqlens_q)
    return [load(context, array, "i32") for array in values]


def run_csr(context: Context, batch: Batch, dtype: str, **places: Place) -> np.ndarray:
    return run_rows(context, batch, *csr_rows(batch), dtype, **places)  # type: ignore[arg-type]


def csr_rows(batch: Batch) -> tuple[list[np.ndarray], np.ndarray]:
    """For each query what it sees, as indices into the slots used, in their order; and these."""
    rows = batch.visible()
    used = np.unique(np.concatenate([[], *rows])).astype(int)
    return [np.sort(np.searchsorted(used, row)) for row in rows], used


def run_rows(
    context: Context,
    batch: Batch,
    columns: list[np.ndarray],
    used: np.ndarray,
    dtype: str,
    *,
    padding: int = 0,
    **places: Place,
) -> np.ndarray:
    q, k, v, out = placed(context, batch.q, batch.k, batch.v, dtype, places)
    metadata = csr_metadata(context, columns, used, padding)
    ops.self_attention_paged(context, q, k, v, *metadata, batch.scale, out)  # type: ignore[call-arg]
    return fetch_sound(context, out)


def csr_metadata(
    context: Context, columns: list[np.ndarray], used: np.ndarray, padding: int = 0
) -> Any:
    """used_slots, row_ptr and col_idx, the first and the last with so much padding behind them."""
    behind = np.full(padding, -1)
    values = (
        np.concatenate([used, behind]),
        np.cumsum([0, *map(len, columns)]),
        np.concatenate([[], *columns, behind]),
    )
    return [load(context, array, "i32") for array in values]


def run_dense(context: Context, batch: Batch, dtype: str, **places: Place) -> np.ndarray:
    results = [np.zeros((0, *batch.q.shape[1:]))]
    for sequence, queries in enumerate(batch.query_lens):
        first, slots = batch.cu_seqlens_q[sequence], batch.slots(sequence)
        operands = (batch.q[first : first + queries], batch.k[slots], batch.v[slots])
        q, k, v, out = placed(context, *operands, dtype, places)
        ops.self_attention(context, q, k, v, batch.scale, out)
        results.append(fetch_sound(context, out))
    return np.concatenate(results)


FORMS = [run_dense, run_csr, run_paged]


def roundings(context: Context, form: Callable[..., Any], batch: Batch, dtype: str) -> int:
    """How often what a result is made of is rounded to dtype: on tensor cores only.

    Ours round the weights; FlashInfer these, so that their total is that of rounded ones, and where
    it cuts the keys of a sequence partial results, once as stored and once as merged.
    """
    if context.attention == "flashinfer" and form is run_paged:
        return 4
    return int(
        context.device.startswith("cuda")
        and not context.deterministic
        and form is not run_dense
        and dtype != "f32"
        and batch.heads.dim in (64, 128)
    )


def assert_exact_enough(
    actual: np.ndarray,
    batch: Batch,
    visible: list[np.ndarray],
    dtype: str,
    *,
    roundings: int = 0,
) -> None:
    """roundings: as of the function of that name."""
    q, k, v = (rounded(values, dtype) for values in (batch.q, batch.k, batch.v))
    expected, magnitude, products = references.attention(q, k, v, batch.scale, visible)
    longest = max([1, *map(len, visible)])
    # Tensor cores cut a sum off where f32 would round it, which costs at most twice as much.
    tensor_cores = roundings > 0
    cost = 2 if tensor_cores else 1
    # A score is a sum of dim products of scaled queries; minus the largest, at most 87 where it
    # counts, it rounds once more, and the exponential is good to 2e-7 (2 units in the last place,
    # 2.4e-7, as a power of two). Such an error of the exponents moves each weight, over the total
    # of the weights, by twice as much.
    exponential = 2.4e-7 if tensor_cores else 2e-7
    score = cost * sum_error(batch.heads.dim + 2) * products + 87 * F32 + exponential
    # The weighted sum and the total of the weights are sums over the visible rows, scaled down
    # once for every 16 of them.
    relative = np.expm1(2 * score) + 2 * cost * sum_error(longest + longest // 16 + 4)
    allowed = relative[..., None] * magnitude
    if tensor_cores:
        # Weights of at most 1 are rounded to dtype for the product with the values; their total,
        # at least 1, is not. Each rounding costs the unit roundoff of the weight, so all of them
        # that share of the magnitude, and the half spacing of subnormals times the value. Further
        # roundings, of the total or of parts of the sum, cost as much again.
        largest = np.nanmax(np.abs(v), initial=0)
        share = (1 + UNIT_ROUNDOFF[dtype]) ** roundings - 1
        allowed = allowed + share * magnitude * (1 + relative[..., None])
        allowed = allowed + roundings * HALF_SMALLEST[dtype] * longest * largest
    assert_within(actual, expected, dtype, allowed)
