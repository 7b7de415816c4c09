"""Benchmark: the operators of a decode step at the dimensions of Qwen2-1.5B, in bf16.

Weights, keys and values come from memory, as in a step. Activations are in a cache where they fit:
there the operator before has just left them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from stagegate._C import Context, Tensor, ops
from stagegate_harness.ceilings import Ceilings
from stagegate_harness.measure import Measure
from suites.ops import references
from suites.ops.attention_batch import (
    Heads,
    assert_exact_enough,
    csr_metadata,
    csr_rows,
    make_batch,
    paged_metadata,
    roundings,
    run_csr,
    run_paged,
)
from suites.ops.bounds import assert_within, sum_error
from suites.ops.operands import cold, fetch, load, poisoned, rounded

HIDDEN = 1536
INTERMEDIATE = 8960
VOCAB = 151936
HEADS = Heads(12, 2, 128)
CONTEXT_LEN = 1024

DTYPE = "bf16"
ITEM_BYTES = 2

# Of decodes, and of a prompt, which takes a CPU too long.
ROWS = [8, 64, pytest.param(4096, marks=pytest.mark.requires_gpu)]

pytestmark = pytest.mark.benchmark(group="operators")


@pytest.fixture
def threads(device: str, num_threads: int) -> Context:
    """As the engine calls them by default."""
    return Context(device, num_threads=num_threads, deterministic=device == "cpu")


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@dataclass(frozen=True)
class Weight:
    values: np.ndarray
    next: Callable[[], Tensor]


@pytest.fixture(scope="module")
def gate_up(device: str) -> Weight:
    """The widest weight of a layer."""
    shape = (2 * INTERMEDIATE, HIDDEN)
    values = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    context = Context(device)
    return Weight(values, cold(lambda: load(context, values, DTYPE), ITEM_BYTES * values.size))


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
        lambda: ops.linear(threads, x, gate_up.next(), None, out),
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


@pytest.mark.parametrize("rows", ROWS)
def test_add_rms_norm(
    measure: Measure,
    ceilings: Ceilings,
    threads: Context,
    random: np.random.Generator,
    rows: int,
) -> None:
    values, before = (random.standard_normal((rows, HIDDEN), np.float32) for _ in range(2))
    scales = random.standard_normal(HIDDEN)
    x, residual = load(threads, values, DTYPE), load(threads, before, DTYPE)
    weight, out = load(threads, scales, DTYPE), poisoned(threads, (rows, HIDDEN), DTYPE)
    measure.operator(
        lambda: ops.add_rms_norm(threads, x, residual, weight, 1e-6, out),
        ceilings,
        wait=threads.synchronize,
        moved_bytes=ITEM_BYTES * HIDDEN * (4 * rows + 1),
        flops=5 * rows * HIDDEN,
    )
    expected = references.rms_norm(fetch(residual), rounded(scales, DTYPE), 1e-6)
    assert_within(fetch(out), expected, DTYPE, sum_error(HIDDEN + 4) * abs(expected))


@pytest.mark.parametrize("rows", ROWS)
def test_rope_kv_write(
    measure: Measure,
    ceilings: Ceilings,
    threads: Context,
    random: np.random.Generator,
    rows: int,
) -> None:
    values = random.standard_normal((rows, HEADS.query + 2 * HEADS.key, HEADS.dim), np.float32)
    qkv, positions = load(threads, values, DTYPE), load(threads, range(rows), "i32")
    cos, sin = (table.to(device=threads.device) for table in ops.make_rope_table(rows, 128, 1e6))
    keys, cached = (poisoned(threads, (rows, HEADS.key, HEADS.dim), DTYPE) for _ in range(2))
    rotated, written = HEADS.query + HEADS.key, 2 * HEADS.key
    measure.operator(
        lambda: ops.rope_kv_write(
            threads, qkv=qkv, q_norm=None, k_norm=None, eps=0.0, positions=positions, cos=cos,
            sin=sin, slot_mapping=positions, k_cache=keys, v_cache=cached,
        ),
        ceilings,
        wait=threads.synchronize,
        # q and k there and back, v there; k and v to the cache.
        moved_bytes=ITEM_BYTES * rows * HEADS.dim * (2 * rotated + HEADS.key + written),
        flops=6 * rows * rotated * HEADS.dim // 2,
    )  # fmt: skip
    np.testing.assert_array_equal(fetch(keys), fetch(qkv)[:, HEADS.query : rotated])
    np.testing.assert_array_equal(fetch(cached), rounded(values[:, rotated:], DTYPE))


@pytest.mark.parametrize("rows", ROWS)
def test_swiglu(
    measure: Measure,
    ceilings: Ceilings,
    threads: Context,
    random: np.random.Generator,
    rows: int,
) -> None:
    values = random.standard_normal((rows, 2 * INTERMEDIATE), np.float32)
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
    sequences = make_batch([CONTEXT_LEN] * batch, [1] * batch, HEADS)
    q, out = load(threads, sequences.q, DTYPE), poisoned(threads, sequences.q.shape, DTYPE)
    moved_bytes = ITEM_BYTES * (
        2 * batch * CONTEXT_LEN * HEADS.key * HEADS.dim + 2 * sequences.q.size
    )
    keys_and_values = cold(
        lambda: [load(threads, values, DTYPE) for values in (sequences.k, sequences.v)], moved_bytes
    )
    if form == "paged":
        metadata = paged_metadata(threads, sequences)

        def call() -> None:
            ops.paged_attention(  # type: ignore[call-arg]
                threads, q, *keys_and_values(), *metadata,  # type: ignore[arg-type]
                sequences.block_size, sequences.scale, out,
            )  # fmt: skip
    else:
        metadata = csr_metadata(threads, *csr_rows(sequences))

        def call() -> None:
            ops.self_attention_paged(  # type: ignore[call-arg]
                threads, q, *keys_and_values(), *metadata,  # type: ignore[arg-type]
                sequences.scale, out,
            )  # fmt: skip

    measure.operator(
        call,
        ceilings,
        wait=threads.synchronize,
        moved_bytes=moved_bytes,
        flops=4 * sequences.q.size * CONTEXT_LEN,
    )
    rounded_by = roundings(threads, run_paged if form == "paged" else run_csr, sequences, DTYPE)
    assert_exact_enough(fetch(out), sequences, sequences.visible(), DTYPE, roundings=rounded_by)
