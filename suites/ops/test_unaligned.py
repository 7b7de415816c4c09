"""Operands between 16-byte boundaries whose rows divide evenly: what loads 16 bytes at a time has
to look at addresses, not at widths alone. Those of linear are in test_linear.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from stagegate._C import Context, Tensor, ops
from suites.ops import references
from suites.ops import sampling_reference as reference
from suites.ops.bounds import F32, assert_within, sum_error
from suites.ops.operands import fetch, load, rounded, shifted
from suites.ops.sampling_batch import sample
from suites.ops.test_sampling_sizes import mixed, random_logits

A, B = np.random.default_rng(12).standard_normal((2, 5, 64))


def placements(
    context: Context, dtype: str, operands: Mapping[str, np.ndarray]
) -> Iterator[dict[str, Tensor]]:
    """Each of the operands alone between boundaries, then all of them."""
    for moved in [*({name} for name in operands), set(operands)]:
        yield {
            name: (shifted if name in moved else load)(context, values, dtype)
            for name, values in operands.items()
        }


def unwritten(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan)


def test_add(context: Context, dtype: str) -> None:
    expected = rounded(A, dtype) + rounded(B, dtype)
    for operands in placements(context, dtype, {"a": A, "b": B, "out": unwritten(5, 64)}):
        ops.add(context, **operands)
        assert_within(fetch(operands["out"]), expected, dtype, F32 * abs(expected))


def test_swiglu(context: Context, dtype: str) -> None:
    expected = references.swiglu(rounded(A, dtype))
    for operands in placements(context, dtype, {"gate_up": A, "out": unwritten(5, 32)}):
        ops.swiglu(context, **operands)
        # The exponential within two units, then a sum, a quotient and a product.
        assert_within(fetch(operands["out"]), expected, dtype, 8 * F32 * abs(expected))


def test_rms_norm(context: Context, dtype: str) -> None:
    eps = float(np.float32(1e-6))
    expected = references.rms_norm(rounded(A, dtype), rounded(B[0], dtype), eps)
    # Half the error of the sum of squares, then five operations.
    relative = sum_error(64) / 2 + 5 * F32
    for operands in placements(context, dtype, {"x": A, "weight": B[0], "out": unwritten(5, 64)}):
        ops.rms_norm(context, **operands, eps=eps)
        assert_within(fetch(operands["out"]), expected, dtype, relative * abs(expected))


def test_add_rms_norm(context: Context, dtype: str) -> None:
    eps = float(np.float32(1e-6))
    total = rounded(A, dtype) + rounded(B, dtype)
    relative = sum_error(64) / 2 + 5 * F32
    values = {"x": A, "residual": B, "weight": B[0], "out": unwritten(5, 64)}
    for operands in placements(context, dtype, values):
        ops.add_rms_norm(context, **operands, eps=eps)
        assert_within(fetch(operands["residual"]), total, dtype, F32 * abs(total))
        expected = references.rms_norm(fetch(operands["residual"]), rounded(B[0], dtype), eps)
        assert_within(fetch(operands["out"]), expected, dtype, relative * abs(expected))


def test_embedding(context: Context, dtype: str) -> None:
    rows: Any = [4, 0, 2]
    for place in (load, shifted):
        ids = place(context, rows, "i32")
        for operands in placements(context, dtype, {"table": A, "out": unwritten(3, 64)}):
            ops.embedding(context, ids=ids, **operands)
            np.testing.assert_array_equal(fetch(operands["out"]), rounded(A[rows], dtype))


def test_argmax(context: Context, dtype: str) -> None:
    x = shifted(context, A, dtype)
    out = shifted(context, np.full(5, -1), "i32")
    ops.argmax(context, x, out)
    np.testing.assert_array_equal(fetch(out), rounded(A, dtype).argmax(axis=1))


@pytest.mark.parametrize("vocab", [1000, 4096])
def test_sample(context: Context, vocab: int) -> None:
    logits, rows = random_logits(20, vocab), mixed(20)
    expected = [reference.draw(*pair) for pair in zip(logits, rows, strict=True)]
    aligned = sample(context, logits, rows, num_logprobs=5)
    actual = sample(context, logits, rows, num_logprobs=5, place=shifted)
    assert actual.token_ids.tolist() == expected
    for name in ("logprobs", "top_ids", "top_logprobs"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(aligned, name))
