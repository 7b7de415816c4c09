"""Every operand of every operator: a wrong shape, dtype, layout or device is refused by name."""

from __future__ import annotations

import contextlib
import re

import pytest

from stagegate import _C
from stagegate._C import Context, Tensor
from stagegate.errors import (
    ArgumentError,
    ContiguityError,
    DeviceError,
    DTypeError,
    ShapeError,
    StagegateError,
)
from suites.ops.operand_table import OPERATORS, STRIDED
from suites.ops.refused_operands import Shape

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
    with pytest.raises(
        DeviceError, match=rf"^{op}: [\w.]+ must be on {other}.*, got .* on {device}"
    ):
        operator.call(Context(other), **operands, **operator.values)


@pytest.mark.requires_gpu
@pytest.mark.parametrize("case", CASES)
def test_operand_on_another_device(case: tuple[str, str]) -> None:
    operand = OPERATORS[case[0]].operands[case[1]]
    assert_refused(case, DeviceError, "cpu", make(operand.shape, operand.dtype, "cuda"))
