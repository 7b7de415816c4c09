"""The kernels that compute a whole block, against float64 and against the block's parts.

A device without such a kernel composes the block, and then these tests hold for its parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from stagegate._C import Context, Ledger, ops
from suites.ops import references
from suites.ops.attention_input_block import POSITIONS, SLOTS, AttentionInput
from suites.ops.block_operands import (
    EPS,
    Sizes,
    assert_near,
    mlp_input_operands,
    numbers,
    output_operands,
    place_all,
    run_output,
    size_of_terms,
)
from suites.ops.faults import assert_names_one
from suites.ops.operands import Place, fetch, load, poisoned, rounded, shifted

ROWS = [1, 3, 8, 9, 16, 17, 33, 64, 65]
VOCAB = 77

# Depths of whole boxes of 64 columns and others, groups and heads of the models and odd ones; fewer
# boxes than warps and than blocks of a cluster, and more.
SIZES = {
    "tiny": Sizes(1, 64, 1, 2, 32, 96, bias=True, qk_norm=False),
    "odd": Sizes(1, 200, 1, 3, 40, 328, bias=False, qk_norm=False),
    "group of 7": Sizes(1, 896, 1, 7, 32, 616, bias=True, qk_norm=False),
    "heads of 128": Sizes(1, 640, 1, 2, 64, 1096, bias=False, qk_norm=False),
}


@dataclass(frozen=True)
class Outcome:
    """What a block wrote, and what it should be: roundings of `size` away, at most."""

    found: np.ndarray
    exact: np.ndarray
    roundings: int
    size: np.ndarray | None = None


def attention_input(context: Context, sizes: Sizes, dtype: str, place: Place) -> Outcome:
    block = AttentionInput(context, sizes, dtype, place)
    block.run()
    _, k, v = np.split(fetch(block.qkv), [sizes.heads, sizes.heads + sizes.kv_heads], axis=1)
    np.testing.assert_array_equal(fetch(block.k_cache)[block.slots], k)
    np.testing.assert_array_equal(fetch(block.v_cache)[block.slots], v)
    return Outcome(fetch(block.qkv), block.exact_qkv(), roundings=4)


def output(name: str, context: Context, sizes: Sizes, dtype: str, place: Place) -> Outcome:
    width = sizes.heads * sizes.head_dim if name == "attention_output" else sizes.inner
    tensors, values = output_operands(context, sizes, dtype, place, width)
    run_output(name, context, sizes, tensors)  # type: ignore[arg-type]
    product = references.linear(values["x"], values["weight"], values.get("bias"))
    residual = tensors["residual"]
    assert residual is not None
    exact = values["residual"] + product
    return Outcome(fetch(residual), exact, 3, np.hypot(values["residual"], product))


def attention_output(context: Context, sizes: Sizes, dtype: str, place: Place) -> Outcome:
    return output("attention_output", context, sizes, dtype, place)


def mlp_output(context: Context, sizes: Sizes, dtype: str, place: Place) -> Outcome:
    return output("mlp_output", context, sizes, dtype, place)


def mlp_input(
    context: Context, sizes: Sizes, dtype: str, place: Place, ahead: bool = False
) -> Outcome:
    """ahead: the block before has normed the residual."""
    tensors, exact = mlp_input_operands(context, sizes, dtype, place)
    widths = {"normed": sizes.hidden, "projected": 2 * sizes.inner, "activated": sizes.inner}
    written = {n: poisoned(context, (sizes.tokens, width), dtype) for n, width in widths.items()}
    if ahead:
        residual, norm = tensors["residual"], tensors["norm"]
        assert residual is not None
        assert norm is not None
        ops.rms_norm(context, residual, norm, EPS, written["normed"])
        tensors["norm"] = None
    ops.mlp_input(context, eps=EPS, **tensors, **written)  # type: ignore[arg-type]
    hidden = references.rms_norm(exact["residual"], exact["norm"], EPS)
    weight, bias = exact["gate_up_weight"], exact.get("gate_up_bias")
    merged = references.linear(hidden, weight, bias)
    gate, up = np.split(merged, 2, axis=1)
    gate_terms, up_terms = np.split(size_of_terms(hidden, weight, bias), 2, axis=1)
    size = 1.1 * gate_terms * abs(up) + abs(gate) * up_terms  # the slope of SiLU is at most 1.1
    return Outcome(fetch(written["activated"]), references.swiglu(merged), 8, size)


def logits(context: Context, sizes: Sizes, dtype: str, place: Place) -> Outcome:
    rows = [(3 * row + 1) % (sizes.tokens + 2) for row in range(sizes.tokens)]
    values = numbers(
        sizes,
        residual=(sizes.tokens + 2, sizes.hidden),
        norm=(sizes.hidden,),
        head_weight=(VOCAB, sizes.hidden),
    )
    out = poisoned(context, (len(rows), VOCAB), "f32")
    ops.logits(
        context, indices=load(context, rows, "i32"), eps=EPS, head_bias=None, out=out,
        rows=poisoned(context, (len(rows), sizes.hidden), dtype),
        **place_all(context, values, dtype, place),
    )  # fmt: skip
    exact = {name: rounded(array, dtype) for name, array in values.items()}
    hidden = references.rms_norm(exact["residual"][rows], exact["norm"], EPS)
    size = size_of_terms(hidden, exact["head_weight"], None)
    return Outcome(fetch(out), references.linear(hidden, exact["head_weight"], None), 3, size)


Block = Callable[[Context, Sizes, str, Place], Outcome]
BLOCKS: dict[str, Block] = {
    "attention_input": attention_input,
    "attention_output": attention_output,
    "mlp_input": mlp_input,
    "mlp_output": mlp_output,
    "logits": logits,
}
# Of prompts: fewer than a tile has, whole tiles and others.
MANY_ROWS = [66, 128, 129, 300, 513]
EVERY_BLOCK = pytest.mark.parametrize("name", BLOCKS)
TINY = replace(SIZES["tiny"], tokens=3)


def dispatched(name: str, context: Context, sizes: Sizes, dtype: str, place: Place) -> set[str]:
    with Ledger() as ledger:
        BLOCKS[name](context, sizes, dtype, place)
    return {op for op, _ in ledger.dispatches}


def ran_whole(name: str, context: Context, sizes: Sizes, dtype: str, place: Place) -> bool:
    """Whether one kernel computed the block: a ledger then has it by its own name."""
    return name in dispatched(name, context, sizes, dtype, place)


@pytest.fixture
def hopper(device: str) -> str:
    """A device that has the kernels."""
    if not ran_whole("mlp_output", Context(device), TINY, "bf16", load):
        pytest.skip("no kernel of this device computes a whole block")
    return device


@pytest.mark.criterion("s3.decode-path")
@EVERY_BLOCK
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("rows", ROWS)
def test_a_block_agrees_with_float64_and_with_its_parts(
    device: str, name: str, sizes: Sizes, dtype: str, rows: int
) -> None:
    sizes = replace(sizes, tokens=rows)
    auto, composed = (
        BLOCKS[name](Context(device, linear_backend=backend), sizes, dtype, load)
        for backend in ("auto", "composed")
    )
    assert_near(auto.found, auto.exact, dtype, auto.roundings, auto.size)
    assert_near(auto.found, composed.found, dtype, auto.roundings, auto.size)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("rows", MANY_ROWS)
@pytest.mark.parametrize("ahead", [False, True], ids=["normed here", "normed before"])
def test_gate_and_up_of_a_prompt(
    hopper: str, sizes: Sizes, dtype: str, rows: int, ahead: bool
) -> None:
    sizes = replace(sizes, tokens=rows)
    auto, composed = (
        mlp_input(Context(hopper, linear_backend=backend), sizes, dtype, load, ahead)
        for backend in ("auto", "composed")
    )
    assert_near(auto.found, auto.exact, dtype, auto.roundings, auto.size)
    assert_near(auto.found, composed.found, dtype, auto.roundings, auto.size)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("hidden", [200, 640])  # fewer stages than the ring has, and more
def test_gate_and_up_of_so_many_rows_that_tiles_take_turns(
    hopper: str, hidden: int, dtype: str
) -> None:
    sizes = replace(SIZES["heads of 128"], tokens=1100, hidden=hidden, inner=4008, bias=True)
    found, again = (mlp_input(Context(hopper), sizes, dtype, load) for _ in range(2))
    assert_near(found.found, found.exact, dtype, found.roundings, found.size)
    np.testing.assert_array_equal(found.found, again.found)


@EVERY_BLOCK
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("rows", [1, 8, 16, 40])
def test_a_block_repeats_itself_bit_for_bit(device: str, name: str, dtype: str, rows: int) -> None:
    sizes = replace(SIZES["heads of 128"], tokens=rows)
    one, other = (BLOCKS[name](Context(device), sizes, dtype, load).found for _ in range(2))
    np.testing.assert_array_equal(one, other)


@EVERY_BLOCK
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("rows", [1, 16])
def test_one_kernel_computes_a_block_of_few_rows(
    hopper: str, name: str, sizes: Sizes, rows: int
) -> None:
    assert ran_whole(name, Context(hopper), replace(sizes, tokens=rows), "bf16", load)


@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "logits"])
@pytest.mark.parametrize("sizes", [SIZES["group of 7"], SIZES["heads of 128"]], ids=str)
@pytest.mark.parametrize("rows", [17, 64])
def test_one_kernel_computes_a_block_of_a_batch(
    hopper: str, name: str, sizes: Sizes, rows: int
) -> None:
    # Timing chooses among the kernels that take a block; all of them have the block's name.
    assert ran_whole(name, Context(hopper), replace(sizes, tokens=rows), "bf16", load)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("rows", MANY_ROWS)
def test_one_kernel_computes_gate_and_up_of_a_prompt(hopper: str, sizes: Sizes, rows: int) -> None:
    sizes = replace(sizes, tokens=rows)
    ran = dispatched("mlp_input", Context(hopper), sizes, "bf16", load)
    assert {"rms_norm", "gated_linear"} <= ran
    # Up to 512 rows the composition is one of the kernels among which timing chooses.
    assert rows <= 512 or ran == {"rms_norm", "gated_linear"}


def test_gate_and_up_that_no_kernel_takes_are_composed(hopper: str) -> None:
    tiny = replace(TINY, tokens=130)
    parts = {"rms_norm", "linear", "swiglu"}
    for context in (
        Context(hopper, linear_backend="composed"),
        Context(hopper, deterministic=True),
    ):
        assert dispatched("mlp_input", context, tiny, "bf16", load) == parts
    context = Context(hopper)
    assert dispatched("mlp_input", context, tiny, "f32", load) == parts
    assert dispatched("mlp_input", context, tiny, "bf16", shifted) == parts
    for odd in (replace(tiny, hidden=68), replace(tiny, inner=100)):
        assert dispatched("mlp_input", context, odd, "bf16", load) == parts


@EVERY_BLOCK
def test_what_no_kernel_takes_is_composed(hopper: str, name: str) -> None:
    context = Context(hopper)
    assert not ran_whole(name, Context(hopper, linear_backend="composed"), TINY, "bf16", load)
    assert not ran_whole(name, Context(hopper, deterministic=True), TINY, "bf16", load)
    assert not ran_whole(name, context, TINY, "f32", load)
    assert not ran_whole(name, context, TINY, "bf16", shifted)
    odd = replace(TINY, hidden=68, half=5, inner=100)  # rows begin between 16 bytes
    assert not ran_whole(name, context, odd, "bf16", load)


def test_norms_of_heads_are_composed(hopper: str) -> None:
    sizes = replace(TINY, qk_norm=True)
    assert not ran_whole("attention_input", Context(hopper), sizes, "bf16", load)


@pytest.mark.parametrize("rows", [3, 17, 64])
@pytest.mark.parametrize("half", [32, 64])
def test_heads_that_have_norms(device: str, rows: int, half: int) -> None:
    sizes = replace(TINY, qk_norm=True, half=half, tokens=rows)
    found = attention_input(Context(device), sizes, "bf16", load)
    assert_near(found.found, found.exact, "bf16", roundings=6)


@pytest.mark.parametrize("rows", [4, 50])
def test_a_padded_row_writes_no_slot(context: Context, rows: int) -> None:
    block = AttentionInput(context, replace(TINY, tokens=rows), "bf16")
    block.slots[1::2] = -1
    block.run(slot_mapping=load(context, block.slots, "i32"))
    kept = block.slots[::2]
    others = sorted(set(range(SLOTS)) - set(kept.tolist()))
    for cache in (block.k_cache, block.v_cache):
        assert np.isnan(fetch(cache)[others]).all()
        assert np.isfinite(fetch(cache)[kept]).all()


@pytest.mark.parametrize(
    ("operand", "value", "sentence"),
    [
        ("positions", POSITIONS, "rope: position {value} of token 2 is outside a table of {table}"),
        ("positions", -1, "rope: position {value} of token 2 is outside a table of {table}"),
        (
            "slot_mapping",
            SLOTS,
            "kv_write: slot {value} of token 2 is outside a cache of {slots} slots",
        ),
        (
            "slot_mapping",
            -2,
            "kv_write: slot {value} of token 2 is outside a cache of {slots} slots",
        ),
    ],
)
@pytest.mark.parametrize("rows", [5, 33])
def test_attention_input_names_what_is_out_of_range(
    context: Context, operand: str, value: int, sentence: str, rows: int
) -> None:
    block = AttentionInput(context, replace(TINY, tokens=rows), "bf16")
    values = block.positions if operand == "positions" else block.slots
    values[2] = value
    wrong = load(context, values, "i32")
    expected = sentence.format(value=value, table=POSITIONS, slots=SLOTS)
    assert_names_one(context, lambda: block.run(**{operand: wrong}), [expected])


def test_logits_name_a_row_that_is_not_there(context: Context) -> None:
    values = numbers(TINY, residual=(3, 64), norm=(64,), head_weight=(VOCAB, 64))
    tensors = place_all(context, values, "bf16", load)
    rows, out = poisoned(context, (2, 64), "bf16"), poisoned(context, (2, VOCAB), "f32")
    indices = load(context, [1, 3], "i32")

    def run() -> None:
        ops.logits(context, indices=indices, eps=EPS, head_bias=None, rows=rows, out=out, **tensors)

    assert_names_one(context, run, ["embedding: id 3 at position 1 is outside a table of 3 rows"])
