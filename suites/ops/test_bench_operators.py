"""Benchmark: the operators of a decode step at the dimensions of Qwen2-1.5B, in bf16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from engine._C import Context, Tensor, ops
from suites.harness.ceilings import Ceilings
from suites.harness.measure import Measure
from suites.ops import references
from suites.ops.bounds import assert_within, sum_error
from suites.ops.operands import fetch, load, poisoned, rounded

HIDDEN = 1536
INTERMEDIATE = 8960
VOCAB = 151936
HEADS, KV_HEADS, HEAD_DIM = 12, 2, 128
CONTEXT_LEN = 1024
BLOCK_SIZE = 16

DTYPE = "bf16"
ITEM_BYTES = 2

pytestmark = pytest.mark.benchmark(group="operators")


@pytest.fixture
def threads(device: str, num_threads: int) -> Context:
    """As the engine calls them by default."""
    return Context(device, num_threads=num_threads, deterministic=True)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@dataclass(frozen=True)
class Weight:
    values: np.ndarray
    tensor: Tensor


@pytest.fixture(scope="module")
def gate_up(device: str) -> Weight:
    """The widest weight of a layer."""
    shape = (2 * INTERMEDIATE, HIDDEN)
    values = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    return Weight(values, load(Context(device), values, DTYPE))


@pytest.mark.parametrize("rows", [1, 8, 64])
def test_linear(
    measure: Measure,
    ceilings: Ceilings,
    threads: Context,
    random: np.random.Generator,
    gate_up: Weight,
    rows: int,
) -> None:
    width, depth = gate_up.values.shape
    values = random.standard_normal((rows, depth))
    x, out = load(threads, values, DTYPE), poisoned(threads, (rows, width), DTYPE)
    measure.operator(
        lambda: ops.linear(threads, x, gate_up.tensor, None, out),
        ceilings,
        wait=threads.synchronize,
        moved_bytes=ITEM_BYTES * (width * depth + rows * (width + depth)),
        flops=2 * rows * width * depth,
    )
    some = slice(None, None, 97)  # of the columns: all would take longer than the measurement
    weight, exact = rounded(gate_up.values[some], DTYPE), rounded(values, DTYPE)
    computed = sum_error(depth) * references.linear(abs(exact), abs(weight), None)
    assert_within(fetch(out)[:, some], references.linear(exact, weight, None), DTYPE, computed)


@pytest.mark.parametrize("rows", [8, 64])
def test_rms_norm(
    measure: Measure,
    ceilings: Ceilings,
    threads: Context,
    random: np.random.Generator,
    rows: int,
) -> None:
    values, scales = random.standard_normal((rows, HIDDEN)), random.standard_normal(HIDDEN)
    x, weight = load(threads, values, DTYPE), load(threads, scales, DTYPE)
    out = poisoned(threads, (rows, HIDDEN), DTYPE)
    measure.operator(
        lambda: ops.rms_norm(threads, x, weight, 1e-6, out),
        ceilings,
        wait=threads.synchronize,
        moved_bytes=ITEM_BYTES * HIDDEN * (2 * rows + 1),
        flops=4 * rows * HIDDEN,
    )
    expected = references.rms_norm(rounded(values, DTYPE), rounded(scales, DTYPE), 1e-6)
    assert_within(fetch(out), expected, DTYPE, sum_error(HIDDEN + 4) * abs(expected))


@pytest.mark.parametrize("rows", [8, 64])
def test_swiglu(
    measure: Measure,
    ceilings: Ceilings,
    threads: Context,
    random: np.random.Generator,
    rows: int,
) -> None:
    values = random.standard_normal((rows, 2 * INTERMEDIATE))
    x, out = load(threads, values, DTYPE), poisoned(threads, (rows, INTERMEDIATE), DTYPE)
    measure.operator(
        lambda: ops.swiglu(threads, x, out),
        ceilings,
        wait=threads.synchronize,
        moved_bytes=ITEM_BYTES * 3 * rows * INTERMEDIATE,
        flops=4 * rows * INTERMEDIATE,
    )
    expected = references.swiglu(rounded(values, DTYPE))
    assert_within(fetch(out), expected, DTYPE, 1e-6 * abs(expected))


@pytest.mark.parametrize("rows", [1, 8])
def test_argmax(
    measure: Measure,
    ceilings: Ceilings,
    threads: Context,
    random: np.random.Generator,
    rows: int,
) -> None:
    values = random.standard_normal((rows, VOCAB))
    logits, out = load(threads, values, "f32"), poisoned(threads, (rows,), "i32")
    measure.operator(
        lambda: ops.argmax(threads, logits, out),
        ceilings,
        wait=threads.synchronize,
        moved_bytes=4 * rows * VOCAB,
        flops=rows * VOCAB,
    )
    assert fetch(out).tolist() == rounded(values, "f32").argmax(axis=1).tolist()


@pytest.mark.parametrize("form", ["paged", "csr"])
@pytest.mark.parametrize("batch", [1, 8])
def test_decode_attention(
    measure: Measure,
    ceilings: Ceilings,
    threads: Context,
    random: np.random.Generator,
    batch: int,
    form: str,
) -> None:
    """One query a sequence, over contexts whose blocks lie in random order."""
    blocks = CONTEXT_LEN // BLOCK_SIZE
    tables = random.permutation(batch * blocks).reshape(batch, blocks)
    slots = (tables[:, :, None] * BLOCK_SIZE + np.arange(BLOCK_SIZE)).reshape(batch, CONTEXT_LEN)
    cache = (batch * CONTEXT_LEN, KV_HEADS, HEAD_DIM)
    q, k, v = (random.standard_normal(shape) for shape in ((batch, HEADS, HEAD_DIM), cache, cache))
    operands = [load(threads, values, DTYPE) for values in (q, k, v)]
    out = poisoned(threads, q.shape, DTYPE)
    scale = HEAD_DIM**-0.5
    if form == "paged":
        metadata = [
            load(threads, tables, "i32"),
            load(threads, np.full(batch, CONTEXT_LEN), "i32"),
            load(threads, np.arange(batch + 1), "i32"),
        ]

        def call() -> None:
            ops.paged_attention(threads, *operands, *metadata, BLOCK_SIZE, scale, out)
    else:
        metadata = [
            load(threads, np.arange(batch * CONTEXT_LEN), "i32"),
            load(threads, np.arange(batch + 1) * CONTEXT_LEN, "i32"),
            load(threads, np.sort(slots, axis=1).ravel(), "i32"),
        ]

        def call() -> None:
            ops.self_attention_paged(threads, *operands, *metadata, scale, out)

    measure.operator(
        call,
        ceilings,
        wait=threads.synchronize,
        moved_bytes=ITEM_BYTES * (2 * k.size + 2 * q.size),
        flops=4 * q.size * CONTEXT_LEN,
    )
    exact = [rounded(values, DTYPE) for values in (q, k, v)]
    expected, magnitude, products = references.attention(*exact, scale, list(slots))
    score = sum_error(HEAD_DIM + 2) * products + 1e-5
    relative = np.expm1(2 * score) + 2 * sum_error(CONTEXT_LEN + 20)
    assert_within(fetch(out), expected, DTYPE, relative[..., None] * magnitude)
