"""Every operand of every operator: a wrong shape, dtype, layout or device is refused by name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from engine import _C
from engine._C import Context, Tensor, ops
from engine.errors import (
    ArgumentError,
    ContiguityError,
    DeviceError,
    DTypeError,
    ShapeError,
    StagegateError,
)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operand:
    """A right shape and dtype, and wrong ones it is blamed for while all others are right."""

    shape: Shape
    wrong_shapes: tuple[Shape, ...]
    dtype: str = "f32"
    wrong_dtypes: tuple[str, ...] = ("i32", "f16", "bf16")


@dataclass(frozen=True)
class Operator:
    """call(context, **operands, **values)."""

    call: Callable[..., None]
    operands: Mapping[str, Operand]
    values: Mapping[str, object] = field(default_factory=dict)


def first(shape: Shape, *wrong_shapes: Shape) -> Operand:
    """The operand that others are compared with: they would be blamed for what it may be too."""
    return Operand(shape, wrong_shapes, wrong_dtypes=("i32", "i64", "u8"))


def index(shape: Shape, *wrong_shapes: Shape) -> Operand:
    return Operand(shape, wrong_shapes, "i32", ("i64", "f32", "u8"))


def call_sample(context: Context, **operands: Tensor) -> None:
    logits = operands.pop("logits")
    names = ("token_ids", "logprobs", "top_ids", "top_logprobs")
    outputs = _C.SamplingOutputs(**{name: operands.pop(name) for name in names})
    ops.sample(context, logits, _C.SamplingInputs(**operands), outputs)


def call_named(op: Callable[..., None]) -> Callable[..., None]:
    return lambda context, **operands: op(context=context, **operands)


QUERIES = first((3, 4, 6), (3, 24))
KEYS = Operand((5, 2, 6), ((5, 12), (5, 2, 7)))
VALUES = Operand((5, 2, 6), ((5, 12), (4, 2, 6), (5, 4, 6), (5, 2, 7)))
RESULT = Operand((3, 4, 6), ((3, 24), (2, 4, 6), (3, 2, 6), (3, 4, 7)))
ROWS = 3
PARAMETER = Operand((ROWS,), ((ROWS + 1,), (ROWS, 1)), "f32", ("f16", "i32"))

OPERATORS = {
    "linear": Operator(
        call_named(ops.linear),
        {
            "x": first((3, 4), (3, 4, 1), (12,)),
            "weight": Operand((5, 4), ((4, 5), (5, 3), (5, 4, 1))),
            "bias": Operand((5,), ((4,), (6,), (5, 1), (1, 5))),
            # f32 results are allowed whatever the operands are.
            "out": Operand((3, 5), ((5, 3), (3, 4), (2, 5), (15,))),
        },
    ),
    "rms_norm": Operator(
        call_named(ops.rms_norm),
        {
            "x": first((3, 4), (12,), (3, 4, 1)),
            "weight": Operand((4,), ((3,), (1, 4))),
            "out": Operand((3, 4), ((4, 3), (3, 5), (12,))),
        },
        {"eps": 1e-6},
    ),
    "rope": Operator(
        call_named(ops.rope),
        {
            "x": first((3, 2, 6), (3, 12), (3, 2, 6, 1), (3, 2, 5)),
            "positions": index((3,), (2,), (3, 1)),
            "cos": Operand((9, 3), ((9, 6), (9, 2), (27,))),
            "sin": Operand((9, 3), ((8, 3), (9, 2), (27,))),
        },
    ),
    "swiglu": Operator(
        call_named(ops.swiglu),
        {
            "gate_up": first((3, 8), (24,), (3, 7)),
            "out": Operand((3, 4), ((4, 3), (2, 4), (12,))),
        },
    ),
    "add": Operator(
        call_named(ops.add),
        {
            "a": first((3, 4)),
            "b": Operand((3, 4), ((4, 3), (4,), (3, 1))),
            "out": Operand((3, 4), ((4, 3), (12,), (1, 3, 4))),
        },
    ),
    "argmax": Operator(
        call_named(ops.argmax),
        {"x": first((3, 4), (12,), (3, 4, 1)), "out": index((3,), (4,), (3, 1))},
    ),
    "embedding": Operator(
        call_named(ops.embedding),
        {
            "ids": index((3,), (3, 1)),
            "table": first((7, 4), (28,), (7, 4, 1)),
            "out": Operand((3, 4), ((4, 3), (7, 4), (12,))),
        },
    ),
    "fill_drawn": Operator(
        call_named(ops.fill_drawn),
        {
            "drawn": index((5,), (5, 1)),
            "rows": index((3,), (3, 1)),
            "ids": index((3,), (2,), (3, 1)),
        },
    ),
    "kv_write": Operator(
        call_named(ops.kv_write),
        {
            "k": first((3, 2, 6), (3, 12)),
            "v": Operand((3, 2, 6), ((3, 12), (2, 2, 6), (3, 1, 6), (3, 2, 5))),
            "slot_mapping": index((3,), (4,), (3, 1)),
            "k_cache": Operand((9, 2, 6), ((9, 12), (9, 1, 6), (9, 2, 5))),
            "v_cache": Operand((9, 2, 6), ((9, 12), (8, 2, 6), (9, 2, 5))),
        },
    ),
    "self_attention": Operator(
        call_named(ops.self_attention),
        {"q": QUERIES, "k": KEYS, "v": VALUES, "out": RESULT},
        {"scale": 1.0},
    ),
    "self_attention_paged": Operator(
        call_named(ops.self_attention_paged),
        {
            "q": QUERIES,
            "k_cache": KEYS,
            "v_cache": VALUES,
            "used_slots": index((5,), (5, 1)),
            "row_ptr": index((4,), (3,), (4, 1)),
            "col_idx": index((0,), (0, 1)),
            "out": RESULT,
        },
        {"scale": 1.0},
    ),
    "paged_attention": Operator(
        call_named(ops.paged_attention),
        {
            "q": QUERIES,
            "k_cache": KEYS,
            "v_cache": VALUES,
            "block_tables": index((2, 3), (6,), (3, 3)),
            "context_lens": index((2,), (2, 1)),
            "cu_seqlens_q": index((3,), (2,), (4,), (3, 1)),
            "out": RESULT,
        },
        {"scale": 1.0, "block_size": 1},
    ),
    "sample": Operator(
        call_sample,
        {
            "logits": Operand((ROWS, 40), ((120,),), "f32", ("f16", "bf16")),
            **{
                parameter.name: Operand(
                    (ROWS,), ((ROWS + 1,), (ROWS, 1)), parameter.dtype, ("f16", "i64")
                )
                for parameter in _C.SAMPLING_PARAMETERS
            },
            "seed": Operand((ROWS,), ((ROWS + 1,),), "i64", ("i32", "f32")),
            "draw_index": Operand((ROWS,), ((ROWS + 1,),), "i64", ("i32", "f32")),
            "history_ptr": index((ROWS + 1,), (ROWS,)),
            "history_ids": index((2,), (2, 1)),
            "history_counts": index((2,), (3,)),
            "bias_ptr": index((ROWS + 1,), (ROWS,)),
            "bias_ids": index((2,), (2, 1)),
            "bias_values": Operand((2,), ((3,),), "f32", ("f16", "i32")),
            "mask_index": index((ROWS,), (ROWS - 1,), (ROWS, 1)),
            # Two words for 40 tokens.
            "mask_bits": index((2, 2), (2, 3), (4,)),
            "token_ids": index((ROWS,), (ROWS + 1,)),
            "logprobs": PARAMETER,
            "top_ids": index((ROWS, 2), (ROWS + 1, 2), (6,)),
            "top_logprobs": Operand((ROWS, 2), ((ROWS, 3), (6,)), "f32", ("f16", "i32")),
        },
    ),
}

# Their rows may be apart, as in a slice of a merged projection.
STRIDED = {
    ("linear", "x"),
    ("rope", "x"),
    *(("kv_write", name) for name in ("k", "v")),
    *(("self_attention", name) for name in ("q", "k", "v")),
    *(
        (op, name)
        for op in ("self_attention_paged", "paged_attention")
        for name in ("q", "k_cache", "v_cache")
    ),
}

CASES = [(op, name) for op, operator in OPERATORS.items() for name in operator.operands]
TABLES = [(op, name) for op, name in CASES if len(OPERATORS[op].operands[name].shape) > 1]


def make(shape: Shape, dtype: str, device: str) -> Tensor:
    return _C.zeros(list(shape), dtype, device)


def call_with(op: str, device: str, **replaced: Tensor) -> None:
    """Run op with operands of zeros, some of them replaced."""
    operator = OPERATORS[op]
    operands = {
        name: make(operand.shape, operand.dtype, device)
        for name, operand in operator.operands.items()
    }
    operator.call(Context(device), **{**operands, **replaced}, **operator.values)


def assert_refused(
    case: tuple[str, str], error: type[StagegateError], device: str, wrong: Tensor
) -> None:
    """The message names operator and operand and describes what it got."""
    op, name = case
    found = f"{wrong.dtype}{list(wrong.shape)} on {wrong.device}"
    with pytest.raises(
        error, match=f"^{op}: ((head_dim|rows) of )?{name} must .*{re.escape(found)}"
    ):
        call_with(op, device, **{name: wrong})


@pytest.mark.parametrize("op", OPERATORS)
def test_right_operands_are_not_refused(device: str, op: str) -> None:
    # Zeros are no valid sampling parameters or row pointers everywhere; that is checked later.
    with contextlib.suppress(ArgumentError):
        call_with(op, device)


@pytest.mark.parametrize(
    ("case", "shape"),
    [
        (case, shape)
        for case in CASES
        for shape in OPERATORS[case[0]].operands[case[1]].wrong_shapes
    ],
)
def test_wrong_shape(device: str, case: tuple[str, str], shape: Shape) -> None:
    dtype = OPERATORS[case[0]].operands[case[1]].dtype
    assert_refused(case, ShapeError, device, make(shape, dtype, device))


@pytest.mark.parametrize(
    ("case", "wrong"),
    [
        (case, dtype)
        for case in CASES
        for dtype in OPERATORS[case[0]].operands[case[1]].wrong_dtypes
    ],
)
def test_wrong_dtype(device: str, case: tuple[str, str], wrong: str) -> None:
    shape = OPERATORS[case[0]].operands[case[1]].shape
    assert_refused(case, DTypeError, device, make(shape, wrong, device))


@pytest.mark.parametrize("case", TABLES)
def test_wrong_order_of_dimensions(device: str, case: tuple[str, str]) -> None:
    operand = OPERATORS[case[0]].operands[case[1]]
    dims = list(reversed(range(len(operand.shape))))
    transposed = make(operand.shape[::-1], operand.dtype, device).permute(dims)
    assert_refused(case, ContiguityError, device, transposed)


@pytest.mark.parametrize("case", TABLES)
def test_rows_apart(device: str, case: tuple[str, str]) -> None:
    operand = OPERATORS[case[0]].operands[case[1]]
    rows, columns, *rest = operand.shape
    apart = make((rows, columns + 1, *rest), operand.dtype, device).slice(1, 0, columns)
    if case in STRIDED:
        with contextlib.suppress(ArgumentError):
            call_with(case[0], device, **{case[1]: apart})
    else:
        assert_refused(case, ContiguityError, device, apart)


@pytest.mark.requires_gpu
@pytest.mark.parametrize("op", OPERATORS)
def test_context_of_another_device(device: str, op: str) -> None:
    operator = OPERATORS[op]
    operands = {
        name: make(operand.shape, operand.dtype, device)
        for name, operand in operator.operands.items()
    }
    other = "cuda" if device == "cpu" else "cpu"
    with pytest.raises(DeviceError, match=rf"^{op}: \w+ must be on {other}.*, got .* on {device}"):
        operator.call(Context(other), **operands, **operator.values)


@pytest.mark.requires_gpu
@pytest.mark.parametrize("case", CASES)
def test_operand_on_another_device(case: tuple[str, str]) -> None:
    operand = OPERATORS[case[0]].operands[case[1]]
    assert_refused(case, DeviceError, "cpu", make(operand.shape, operand.dtype, "cuda"))
