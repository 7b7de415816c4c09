"""The blocks of a layer behind attention: what they compute, and that their parts compute it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate._C import Context, Tensor, ops
from stagegate.errors import ArgumentError
from suites.adapter.options import DTYPES
from suites.ops import references
from suites.ops.block_operands import (
    EPS,
    EXAMPLE,
    PLACES,
    SIZES,
    Sizes,
    assert_near,
    mlp_input_operands,
    numbers,
    output_operands,
    place_all,
    run_output,
    size_of_terms,
)
from suites.ops.bounds import UNIT_ROUNDOFF
from suites.ops.examples import examples
from suites.ops.operands import Place, fetch, load, poisoned, rounded


@given(
    block=st.sampled_from(["attention_output", "mlp_output"]),
    sizes=SIZES,
    dtype=st.sampled_from(DTYPES),
    place=PLACES,
)
@examples(60)
def test_an_output_block_is_its_parts_and_exact(
    device: str, block: str, sizes: Sizes, dtype: str, place: Place
) -> None:
    context = Context(device, linear_backend="composed")
    width = sizes.heads * sizes.head_dim if block == "attention_output" else sizes.inner
    whole, values = output_operands(context, sizes, dtype, place, width)
    parts, _ = output_operands(context, sizes, dtype, place, width)
    run_output(block, context, sizes, whole)  # type: ignore[arg-type]
    x, weight, projected, residual = (
        parts[name] for name in ("x", "weight", "projected", "residual")
    )
    assert x is not None
    assert weight is not None
    assert projected is not None
    assert residual is not None
    ops.linear(context, x, weight, parts["bias"], projected)
    ops.add(context, residual, projected, residual)
    assert whole["residual"] is not None
    np.testing.assert_array_equal(fetch(whole["residual"]), fetch(residual))
    product = references.linear(values["x"], values["weight"], values.get("bias"))
    exact = values["residual"] + product
    # Where the two cancel, what is off is still a share of their size.
    size = np.sqrt(np.mean(values["residual"] ** 2 + product**2)) if exact.size else 0.0
    error = np.sqrt(np.mean((fetch(residual) - exact) ** 2)) if exact.size else 0.0
    assert error <= 4 * 2 * UNIT_ROUNDOFF[dtype] * size + 1e-30


@given(
    block=st.sampled_from(["attention_output", "mlp_output"]),
    sizes=SIZES,
    dtype=st.sampled_from(DTYPES),
    place=PLACES,
)
@examples(40)
def test_an_output_block_norms_for_the_next(
    device: str, block: str, sizes: Sizes, dtype: str, place: Place
) -> None:
    """The sum is what it is without the norm, and the norm what rms_norm makes of it."""
    context = Context(device)
    width = sizes.heads * sizes.head_dim if block == "attention_output" else sizes.inner
    alone, _ = output_operands(context, sizes, dtype, place, width)
    whole, _ = output_operands(context, sizes, dtype, place, width)
    shape = (sizes.tokens, sizes.hidden)
    norm = place(context, numbers(sizes, norm=(sizes.hidden,))["norm"], dtype)
    normed, expected = poisoned(context, shape, dtype), poisoned(context, shape, dtype)
    following = {"next_norm": norm, "eps": EPS, "next_normed": normed}
    run_output(block, context, sizes, whole, **following)  # type: ignore[arg-type]
    run_output(block, context, sizes, alone)  # type: ignore[arg-type]
    assert whole["residual"] is not None
    assert alone["residual"] is not None
    np.testing.assert_array_equal(fetch(whole["residual"]), fetch(alone["residual"]))
    ops.rms_norm(context, alone["residual"], norm, EPS, expected)
    np.testing.assert_array_equal(fetch(normed), fetch(expected))


@given(sizes=SIZES, dtype=st.sampled_from(DTYPES), place=PLACES)
@examples(40)
def test_mlp_input_is_its_parts_and_exact(
    device: str, sizes: Sizes, dtype: str, place: Place
) -> None:
    context = Context(device, linear_backend="composed")
    tensors, exact = mlp_input_operands(context, sizes, dtype, place)
    residual, norm, weight = (tensors[name] for name in ("residual", "norm", "gate_up_weight"))
    assert residual is not None
    assert norm is not None
    assert weight is not None

    def unwritten() -> list[Tensor]:
        widths = (sizes.hidden, 2 * sizes.inner, sizes.inner)
        return [poisoned(context, (sizes.tokens, width), dtype) for width in widths]

    normed, projected, activated = unwritten()
    ops.mlp_input(
        context, **tensors, eps=EPS, normed=normed, projected=projected,  # type: ignore[arg-type]
        activated=activated,
    )  # fmt: skip
    normed, projected, expected = unwritten()
    ops.rms_norm(context, residual, norm, EPS, normed)
    ops.linear(context, normed, weight, tensors["gate_up_bias"], projected)
    ops.swiglu(context, projected, expected)
    np.testing.assert_array_equal(fetch(activated), fetch(expected))
    # Of a residual that the block before has normed.
    _, projected, again = unwritten()
    ops.mlp_input(
        context, **tensors | {"norm": None}, eps=EPS, normed=normed,  # type: ignore[arg-type]
        projected=projected, activated=again,
    )  # fmt: skip
    np.testing.assert_array_equal(fetch(again), fetch(expected))
    hidden = references.rms_norm(exact["residual"], exact["norm"], EPS)
    merged = references.linear(hidden, exact["gate_up_weight"], exact.get("gate_up_bias"))
    gate, up = np.split(merged, 2, axis=1)
    terms = size_of_terms(hidden, exact["gate_up_weight"], exact.get("gate_up_bias"))
    gate_terms, up_terms = np.split(terms, 2, axis=1)
    # The slope of SiLU is at most 1.1.
    size = 1.1 * gate_terms * abs(up) + abs(gate) * up_terms
    assert_near(fetch(activated), references.swiglu(merged), dtype, roundings=8, size=size)


@given(
    sizes=SIZES,
    rows=st.lists(st.integers(0, 5), max_size=4),
    dtype=st.sampled_from(DTYPES),
    place=PLACES,
)
@examples(40)
def test_logits_are_their_parts_and_exact(
    device: str, sizes: Sizes, rows: list[int], dtype: str, place: Place
) -> None:
    context = Context(device, linear_backend="composed")
    vocab = 37
    values = numbers(
        sizes, residual=(6, sizes.hidden), norm=(sizes.hidden,), head_weight=(vocab, sizes.hidden)
    )
    tensors = place_all(context, values, dtype, place)
    indices = load(context, rows, "i32")

    def unwritten() -> tuple[Tensor, Tensor]:
        return (
            poisoned(context, (len(rows), sizes.hidden), dtype),
            poisoned(context, (len(rows), vocab), "f32"),
        )

    selected, out = unwritten()
    ops.logits(context, indices=indices, eps=EPS, head_bias=None, rows=selected, out=out, **tensors)
    selected, expected = unwritten()
    ops.embedding(context, indices, tensors["residual"], selected)
    ops.rms_norm(context, selected, tensors["norm"], EPS, selected)
    ops.linear(context, selected, tensors["head_weight"], None, expected)
    np.testing.assert_array_equal(fetch(out), fetch(expected))
    exact = {name: rounded(array, dtype) for name, array in values.items()}
    hidden = references.rms_norm(exact["residual"][rows], exact["norm"], EPS)
    size = size_of_terms(hidden, exact["head_weight"], None)
    assert_near(
        fetch(out), references.linear(hidden, exact["head_weight"], None), dtype, 3, size=size
    )


def test_logits_name_a_row_that_is_not_there() -> None:
    context = Context("cpu")
    tensors = place_all(
        context, numbers(EXAMPLE, residual=(3, 8), norm=(8,), head_weight=(5, 8)), "f32", load
    )
    rows, out = poisoned(context, (1, 8), "f32"), poisoned(context, (1, 5), "f32")
    with pytest.raises(ArgumentError, match="id 3 at position 0 is outside a table of 3 rows"):
        ops.logits(
            context, indices=load(context, [3], "i32"), eps=EPS, head_bias=None, rows=rows,
            out=out, **tensors,
        )  # fmt: skip
