"""attention_input and attend: what they compute, and that it is what their parts compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate import _C
from stagegate._C import Context, Tensor, ops
from stagegate.errors import DTypeError, ShapeError
from suites.adapter.options import DTYPES
from suites.ops import references
from suites.ops.attention_input_block import SLOTS, AttentionInput
from suites.ops.block_operands import EPS, EXAMPLE, PLACES, SIZES, Sizes, assert_near, place_all
from suites.ops.examples import examples
from suites.ops.operands import Place, fetch, load, poisoned, rounded, shifted


@given(sizes=SIZES, dtype=st.sampled_from(DTYPES), place=PLACES)
@examples(40)
def test_attention_input_is_its_parts(device: str, sizes: Sizes, dtype: str, place: Place) -> None:
    context = Context(device, linear_backend="composed")
    whole, parts = (AttentionInput(context, sizes, dtype, place) for _ in range(2))
    whole.run()
    parts.run_parts()
    for one, other in zip(whole.results(), parts.results(), strict=True):
        np.testing.assert_array_equal(one, other)


@given(sizes=SIZES, dtype=st.sampled_from(DTYPES), place=PLACES)
@examples(20)
def test_attention_input_takes_a_residual_that_is_normed(
    device: str, sizes: Sizes, dtype: str, place: Place
) -> None:
    context = Context(device, linear_backend="composed")
    whole, normed = (AttentionInput(context, sizes, dtype, place) for _ in range(2))
    whole.run()
    residual, norm = (normed.weights[name] for name in ("residual", "norm"))
    assert residual is not None
    assert norm is not None
    ops.rms_norm(normed.context, residual, norm, EPS, normed.normed)
    normed.run(norm=None)
    for one, other in zip(whole.results(), normed.results(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_attention_input_agrees_with_float64(
    context: Context, dtype: str, bias: bool, qk_norm: bool
) -> None:
    block = AttentionInput(context, Sizes(7, 96, 2, 3, 16, 1, bias, qk_norm), dtype)
    block.run()
    exact = block.exact_qkv()
    assert_near(fetch(block.qkv), exact, dtype, roundings=4)
    _, k, v = np.split(fetch(block.qkv), [6, 8], axis=1)
    np.testing.assert_array_equal(fetch(block.k_cache)[block.slots], k)
    np.testing.assert_array_equal(fetch(block.v_cache)[block.slots], v)


def test_attention_input_writes_no_other_slot(context: Context) -> None:
    block = AttentionInput(context, EXAMPLE, "f32")
    block.run()
    others = sorted(set(range(SLOTS)) - set(block.slots.tolist()))
    assert np.isnan(fetch(block.k_cache)[others]).all()
    assert np.isnan(fetch(block.v_cache)[others]).all()


@pytest.mark.parametrize("missing", ["q_norm", "k_norm"])
def test_norms_of_q_and_k_come_together(context: Context, missing: str) -> None:
    block = AttentionInput(context, EXAMPLE, "f32")
    with pytest.raises(
        ShapeError, match=f"attention_input: {missing} must have shape .* undefined"
    ):
        block.run(**{missing: None})


def test_a_cache_of_another_dtype_is_refused(context: Context) -> None:
    block = AttentionInput(context, EXAMPLE, "bf16")
    other = block.k_cache.to(dtype="f16")
    with pytest.raises(DTypeError, match="attention_input: k_cache must be bf16, got f16"):
        block.run(k_cache=other)


ATTENTION = (3, 4, 8)  # queries of one sequence, heads, head_dim
VISIBLE = [range(6), range(7), range(8)]


def attend_operands(
    context: Context, dtype: str, place: Place
) -> tuple[dict[str, Tensor], list[Any]]:
    random = np.random.default_rng(3)
    q = random.standard_normal(ATTENTION)
    k, v = random.standard_normal((2, 12, 2, 8))
    values = {"q": q, "k_cache": k, "v_cache": v}
    operands = place_all(context, values, dtype, place)
    operands["context_lens"] = load(context, [8], "i32")
    operands["cu_seqlens_q"] = load(context, [0, 3], "i32")
    operands["out"] = poisoned(context, ATTENTION, dtype)
    return operands, [rounded(array, dtype) for array in values.values()]


def metadata_of(context: Context, form: str) -> _C.PagedMetadata | _C.CsrMetadata:
    """Eight tokens in slots 0 to 7, as blocks of four or as lists."""
    if form == "paged":
        return _C.PagedMetadata(load(context, [[0, 1]], "i32"), 4)
    columns = [column for rows in VISIBLE for column in rows]
    return _C.CsrMetadata(
        load(context, range(8), "i32"),
        load(context, np.cumsum([0, *map(len, VISIBLE)]), "i32"),
        load(context, columns, "i32"),
    )


@pytest.mark.parametrize("form", ["paged", "csr"])
@pytest.mark.parametrize("place", [load, shifted])
def test_attend_is_its_part_and_exact(
    context: Context, dtype: str, form: str, place: Place
) -> None:
    if context.attention == "flashinfer":
        pytest.skip("FlashInfer has no heads of 8")
    operands, exact = attend_operands(context, dtype, place)
    ops.attend(context, metadata=metadata_of(context, form), scale=0.3, **operands)
    result = fetch(operands["out"])
    out = poisoned(context, ATTENTION, dtype)
    keys = (operands["q"], operands["k_cache"], operands["v_cache"])
    if form == "paged":
        tables = load(context, [[0, 1]], "i32")
        lengths = (operands["context_lens"], operands["cu_seqlens_q"])
        ops.paged_attention(context, *keys, tables, *lengths, 4, 0.3, out)
    else:
        columns = load(context, [column for rows in VISIBLE for column in rows], "i32")
        rows = load(context, np.cumsum([0, *map(len, VISIBLE)]), "i32")
        ops.self_attention_paged(
            context, *keys, load(context, range(8), "i32"), rows, columns, 0.3, out
        )
    np.testing.assert_array_equal(result, fetch(out))
    q_exact, k_exact, v_exact = exact
    expected, *_ = references.attention(q_exact, k_exact, v_exact, 0.3, VISIBLE)
    assert_near(result, expected, dtype, roundings=3)


def test_attend_names_wrong_lists(context: Context) -> None:
    operands, _ = attend_operands(context, "f32", load)
    short = _C.CsrMetadata(*(load(context, [0, 1], "i32") for _ in range(3)))
    with pytest.raises(ShapeError, match=r"attend: row_ptr must have shape \[4\]"):
        ops.attend(context, metadata=short, scale=1.0, **operands)
    long = _C.CsrMetadata(*(load(context, [0, 1, 2, 3], "i64") for _ in range(3)))
    with pytest.raises(DTypeError, match="attend: used_slots must be i32"):
        ops.attend(context, metadata=long, scale=1.0, **operands)
