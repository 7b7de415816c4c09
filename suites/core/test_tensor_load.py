"""Tensors made from numpy arrays and from memory that somebody else owns."""

from __future__ import annotations

import gc
import mmap
import re
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from stagegate._C import Tensor
from stagegate.errors import ArgumentError, ContiguityError, DTypeError, ShapeError

ARRAYS: dict[str, npt.NDArray[Any]] = {
    "f32": np.array([[1.5, -0.0, np.inf], [np.nan, 1e-45, -3e38]], np.float32),
    "f16": np.array([[1.5, -0.0, np.inf], [np.nan, 6e-8, -65504]], np.float16),
    "i32": np.array([[0, 1, -1], [2**31 - 1, -(2**31), 7]], np.int32),
    "i64": np.array([[0, 1, -1], [2**63 - 1, -(2**63), 7]], np.int64),
    "u8": np.array([[0, 1, 2], [127, 128, 255]], np.uint8),
}


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize("dtype", ARRAYS)
def test_from_numpy_keeps_every_bit(device: str, dtype: str) -> None:
    array = ARRAYS[dtype]
    tensor = Tensor.from_numpy(array).to(device=device)
    assert tensor.dtype == dtype
    actual = tensor.to(device="cpu").numpy()
    assert actual.dtype == array.dtype
    assert actual.tobytes() == array.tobytes()


def test_from_numpy_copies() -> None:
    array = np.ones(3, np.float32)
    tensor = Tensor.from_numpy(array)
    array[:] = 2
    np.testing.assert_array_equal(tensor.numpy(), np.ones(3))


@pytest.mark.parametrize("view", [np.s_[::2, ::-1], np.s_[:, 1:], np.s_[:0], np.s_[1, 1]])
def test_from_numpy_takes_any_layout(view: tuple[Any, ...]) -> None:
    array = np.arange(12, dtype=np.int32).reshape(4, 3)
    for source in (np.asarray(array[view]), np.asarray(np.asfortranarray(array)[view])):
        np.testing.assert_array_equal(Tensor.from_numpy(source).numpy(), source)


def test_from_numpy_takes_bf16_as_bits() -> None:
    bits = np.array([0x3F80, 0x8000, 0x7F80, 0x7FC1, 0x0001], np.uint16)
    tensor = Tensor.from_numpy(bits, dtype="bf16")
    assert tensor.dtype == "bf16"
    expected = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(tensor.numpy(), expected)


def test_from_numpy_converts() -> None:
    tensor = Tensor.from_numpy(np.array([1.0, 2.5], np.float32), dtype="f16")
    assert tensor.dtype == "f16"
    np.testing.assert_array_equal(tensor.numpy(), np.array([1.0, 2.5], np.float16))


@pytest.mark.parametrize("kind", ["f8", "c8", "?", "i2", "u2", "u4", ">f4", ">i8", "S3", "O"])
def test_from_numpy_refuses_other_types(kind: str) -> None:
    array = np.zeros(2, kind)
    message = re.escape(f"from_numpy: no dtype for a numpy array of {array.dtype};")
    with pytest.raises(DTypeError, match=message):
        Tensor.from_numpy(array)


def test_from_numpy_refuses_bf16_bits_of_foreign_byte_order() -> None:
    with pytest.raises(DTypeError, match=">u2"):
        Tensor.from_numpy(np.zeros(2, ">u2"), dtype="bf16")


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize("dtype", ARRAYS)
@pytest.mark.parametrize("offset", [0, 16])
def test_from_buffer_reads_in_place(dtype: str, offset: int) -> None:
    array = ARRAYS[dtype]
    memory = bytearray(bytes(offset) + array.tobytes() + b"behind")
    tensor = Tensor.from_buffer(memory, dtype, [2, 3], offset)
    assert tensor.numpy().tobytes() == array.tobytes()
    memory[offset : offset + array.nbytes] = bytes(array.nbytes)
    assert not tensor.numpy().any()


def test_from_buffer_takes_read_only_memory(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(np.arange(6, dtype=np.float32).tobytes())
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    tensor = Tensor.from_buffer(mapped, "f32", [3], 12)
    np.testing.assert_array_equal(tensor.numpy(), [3, 4, 5])
    # The map stays open as long as a tensor, or a view of it, reads it.
    view = tensor.slice(0, 1, 2)
    del tensor
    with pytest.raises(BufferError):
        mapped.close()
    np.testing.assert_array_equal(view.numpy(), [4])
    del view
    mapped.close()


def test_from_buffer_keeps_its_owner() -> None:
    owner = np.arange(4, dtype=np.int32)
    alive = weakref.ref(owner)
    view = Tensor.from_buffer(owner, "i32", [4]).slice(0, 2, 4)
    del owner
    gc.collect()
    assert alive() is not None
    np.testing.assert_array_equal(view.numpy(), [2, 3])
    del view
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize(("shape", "offset"), [([5], 0), ([4], 4), ([1], 16), ([2, 3], 0)])
def test_from_buffer_ends_with_the_buffer(shape: list[int], offset: int) -> None:
    with pytest.raises(ShapeError, match=r"tensor: f32\[.*\] needs \d+ elements but the storage"):
        Tensor.from_buffer(bytes(16), "f32", shape, offset)


def test_from_buffer_of_nothing() -> None:
    assert Tensor.from_buffer(bytes(16), "f32", [0, 7], 16).numpy().shape == (0, 7)


def test_from_buffer_offset_past_the_end() -> None:
    with pytest.raises(ArgumentError, match="from_buffer: offset 17 is past the end of a buffer"):
        Tensor.from_buffer(bytes(16), "f32", [0], 17)


def test_from_buffer_of_negative_shape() -> None:
    with pytest.raises(ShapeError, match=r"shape \[-1\] has a negative dimension"):
        Tensor.from_buffer(bytes(16), "f32", [-1])


def test_from_buffer_refuses_strides() -> None:
    array = np.arange(8, dtype=np.float32)
    for view in (array[::2], array[::-1], array.reshape(2, 4).T):
        with pytest.raises(ContiguityError, match="from_buffer: the buffer must be contiguous"):
            Tensor.from_buffer(view, "f32", [2])
