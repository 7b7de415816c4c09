"""Errors of the core arrive as the classes of engine.errors and say what to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from stagegate import _C, errors
from stagegate._C import Context, Tensor

RAISED_BY_THE_CORE = [
    errors.ShapeError,
    errors.DTypeError,
    errors.DeviceError,
    errors.ContiguityError,
    errors.ArgumentError,
    errors.OutOfMemoryError,
]


@pytest.mark.parametrize("error", RAISED_BY_THE_CORE)
def test_core_errors_are_apart_from_each_other(error: type[Exception]) -> None:
    assert issubclass(error, errors.StagegateError)
    assert [other for other in RAISED_BY_THE_CORE if issubclass(error, other)] == [error]


@pytest.mark.parametrize("name", ["", "float32", "F32", "f64", "bf16 "])
def test_unknown_dtype(name: str) -> None:
    message = f"unknown dtype '{name}'; use f32, f16, bf16, i32, i64 or u8"
    with pytest.raises(errors.DTypeError, match=message):
        _C.zeros([1], name)
    with pytest.raises(errors.DTypeError, match=message):
        Tensor.from_buffer(bytes(4), name, [1])
    with pytest.raises(errors.DTypeError, match=message):
        _C.zeros([1], "f32").to(dtype=name)


@pytest.mark.parametrize(
    "name", ["", "gpu", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999999999"]
)
def test_unknown_device(name: str) -> None:
    message = f"unknown device '{name}'; use cpu, cuda or cuda:N"
    with pytest.raises(errors.DeviceError, match=message):
        _C.zeros([1], "f32", name)
    with pytest.raises(errors.DeviceError, match=message):
        Context(name)


@pytest.mark.parametrize("num_threads", [0, -2])
def test_threads_are_counted_from_one(num_threads: int) -> None:
    message = f"context: num_threads must be positive, got {num_threads}"
    with pytest.raises(errors.ArgumentError, match=message):
        Context(num_threads=num_threads)


def test_attention_is_native_or_flashinfer() -> None:
    assert Context().attention == "native"
    message = 'context: attention must be native or flashinfer, got "flash"'
    with pytest.raises(errors.ArgumentError, match=message):
        Context(attention="flash")


def test_linear_backend_is_auto_or_composed() -> None:
    assert Context().linear_backend == "auto"
    assert Context(linear_backend="composed").linear_backend == "composed"
    message = 'context: linear_backend must be auto or composed, got "fused"'
    with pytest.raises(errors.ArgumentError, match=message):
        Context(linear_backend="fused")


def test_unknown_instruction_set() -> None:
    message = 'context: instruction_set must be portable, avx2, avx512 or amx, got "sse"'
    with pytest.raises(errors.ArgumentError, match=message):
        Context(instruction_set="sse")


def test_flashinfer_is_for_a_gpu() -> None:
    message = 'attention="flashinfer" is for a GPU, not for cpu; use attention="native"'
    with pytest.raises(errors.DeviceError, match=message):
        Context("cpu", attention="flashinfer")


@pytest.mark.parametrize("make", [_C.empty, _C.zeros])
def test_negative_dimension(device: str, make: Callable[[list[int], str, str], _C.Tensor]) -> None:
    with pytest.raises(errors.ShapeError, match=r"negative dimension in \[3, -1\]"):
        make([3, -1], "f32", device)


def test_more_memory_than_there_is(device: str) -> None:
    with pytest.raises(errors.OutOfMemoryError, match=str(2**50)):
        _C.empty([2**50], "u8", device)


@pytest.mark.parametrize("shape", [[2**62, 4], [2**40, 2**40], [2**63 - 1, 8]])
def test_more_memory_than_can_be_addressed(device: str, shape: list[int]) -> None:
    with pytest.raises(errors.OutOfMemoryError, match="does not fit an address space"):
        _C.empty(shape, "f32", device)


def test_an_error_leaves_the_core_usable(device: str) -> None:
    context = Context(device, num_threads=2)
    table = Tensor.from_numpy(np.arange(8, dtype=np.float32).reshape(4, 2)).to(device=device)
    out = _C.zeros([2, 2], "f32", device)
    bad, good = (
        Tensor.from_numpy(np.array(ids, np.int32)).to(device=device) for ids in ([4, 9], [3, 1])
    )

    def look_up_bad() -> None:
        _C.ops.embedding(context, bad, table, out)
        context.synchronize()

    for _ in range(3):
        with pytest.raises(errors.ArgumentError):
            look_up_bad()
        _C.ops.embedding(context, good, table, out)
        np.testing.assert_array_equal(out.to(device="cpu").numpy(), [[6, 7], [2, 3]])
