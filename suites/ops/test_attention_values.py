"""The three attention operators on values that try the softmax: huge, equal and not finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stagegate._C import Context
from suites.ops.attention_batch import (
    BATCHES,
    FORMS,
    QWEN,
    SMALL,
    Heads,
    assert_exact_enough,
    make_batch,
    roundings,
    run_paged,
)
from suites.ops.operands import rounded


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bias", [30.0, -30.0, 400.0])
def test_key_biases_as_large_as_in_qwen(
    context: Context, dtype: str, form: Callable[..., Any], bias: float
) -> None:
    """Keys share an offset far above their differences: scores of thousands, all close together."""
    batch = make_batch(*BATCHES["mixture"], ascending=True)
    batch.k[..., ::5] += bias
    actual = form(context, batch, dtype)
    rounded_by = roundings(context, form, batch, dtype)
    assert_exact_enough(actual, batch, batch.visible(), dtype, roundings=rounded_by)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("winner", [0, 63, 64, 99])
def test_one_key_takes_all(
    context: Context, dtype: str, form: Callable[..., Any], winner: int
) -> None:
    """Its score is hundreds above the rest, before, inside or behind a block of the running sum."""
    batch = make_batch([100], [1], SMALL, ascending=True)
    batch.q[:] = np.abs(batch.q) + 4
    slot = batch.slots(0)[winner]
    batch.k[slot] = 60.0
    expected = rounded(batch.v[slot], dtype)
    expected = np.repeat(expected, SMALL.query // SMALL.key, axis=0)[None]
    np.testing.assert_array_equal(form(context, batch, dtype), expected)


@pytest.mark.parametrize("form", FORMS)
def test_equal_keys_average_the_values(context: Context, form: Callable[..., Any]) -> None:
    batch = make_batch([128], [1], SMALL, ascending=True)
    batch.k[:] = 1.0
    batch.v[batch.slots(0)] = np.arange(128.0)[:, None, None]
    np.testing.assert_allclose(form(context, batch, "f32"), 63.5, rtol=1e-6)


@pytest.mark.parametrize("heads", [SMALL, QWEN, Heads(6, 1, 128)])
@pytest.mark.parametrize("queries", [1, 70])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("operand", ["k", "v"])
def test_nan_is_for_those_who_see_it(
    context: Context, dtype: str, operand: str, form: Callable[..., Any], queries: int, heads: Heads
) -> None:
    """In the last of 70 tokens: for its query, and for none before it.

    That paged_attention does not promise of values, which it may multiply by zero.
    """
    if context.attention == "flashinfer" and form is run_paged:
        pytest.skip("what FlashInfer makes of NaN is its own affair")
    batch = make_batch([70], [queries], heads, ascending=True)
    getattr(batch, operand)[batch.slots(0)[-1]] = np.nan
    actual = form(context, batch, dtype)
    assert np.isnan(actual[-1]).all()
    if not (form is run_paged and operand == "v"):
        assert np.isfinite(actual[:-1]).all()
