"""Views of tensors mean what the same views of numpy arrays mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stagegate import _C
from stagegate._C import Tensor
from stagegate.errors import ArgumentError, ContiguityError, ShapeError

DTYPES = {"f32": np.float32, "f16": np.float16, "i32": np.int32, "i64": np.int64, "u8": np.uint8}
ITEM_SIZES = {"f32": 4, "f16": 2, "bf16": 2, "i32": 4, "i64": 8, "u8": 1}

shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


def counted(shape: tuple[int, ...], dtype: str = "i32") -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(DTYPES[dtype])


def on_device(array: np.ndarray, device: str) -> Tensor:
    return Tensor.from_numpy(array).to(device=device)


def values(tensor: Tensor) -> np.ndarray:
    """On the host; a copy between devices wants contiguous tensors."""
    return tensor.contiguous().to(device="cpu").numpy()


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize("dtype", ITEM_SIZES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)])
def test_create(device: str, dtype: str, shape: tuple[int, ...]) -> None:
    for tensor in (_C.empty(list(shape), dtype, device), _C.zeros(list(shape), dtype, device)):
        assert tensor.shape == shape
        assert tensor.dtype == dtype
        assert tensor.device.startswith(device)
        assert tensor.is_contiguous
    assert not values(tensor).any()


def test_describes_itself(device: str) -> None:
    assert repr(_C.zeros([3, 4], "bf16", device)).startswith(f"Tensor(bf16[3, 4] on {device}")


@pytest.mark.criterion("s1.tensor")
@given(shape=shapes, dtype=st.sampled_from([*DTYPES]))
@settings(max_examples=60, deadline=None)
def test_strides_are_numpys(device: str, shape: tuple[int, ...], dtype: str) -> None:
    array = counted(shape, dtype)
    tensor = on_device(array, device)
    assert tensor.shape == array.shape
    if array.size > 0:
        assert tensor.strides == tuple(step // array.itemsize for step in array.strides)
    np.testing.assert_array_equal(values(tensor), array)


@st.composite
def view_chains(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[Any, ...]]]:
    """A shape, and slices and permutations to apply one after another."""
    start = shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
    steps: list[tuple[Any, ...]] = []
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            dim = draw(st.integers(0, len(shape) - 1))
            stop = draw(st.integers(0, shape[dim]))
            begin = draw(st.integers(0, stop))
            steps.append(("slice", dim, begin, stop))
            shape = (*shape[:dim], stop - begin, *shape[dim + 1 :])
        else:
            dims = draw(st.permutations(range(len(shape))))
            steps.append(("permute", dims))
            shape = tuple(shape[dim] for dim in dims)
    return start, steps


def apply_to_array(array: npt.NDArray[Any], step: tuple[Any, ...]) -> npt.NDArray[Any]:
    if step[0] == "permute":
        return array.transpose(step[1])
    _, dim, start, stop = step
    part: npt.NDArray[Any] = array[(slice(None),) * dim + (slice(start, stop),)]
    return part


@pytest.mark.criterion("s1.tensor")
@given(chain=view_chains())
@settings(max_examples=150, deadline=None)
def test_views_of_views_are_numpys(
    device: str, chain: tuple[tuple[int, ...], list[tuple[Any, ...]]]
) -> None:
    shape, steps = chain
    array = counted(shape)
    tensor = on_device(array, device)
    for step in steps:
        array = apply_to_array(array, step)
        tensor = getattr(tensor, step[0])(*step[1:])
    assert tensor.shape == array.shape
    # Like numpy, dimensions of one element do not matter, nor any stride where there is nothing.
    assert tensor.is_contiguous == array.flags.c_contiguous
    np.testing.assert_array_equal(tensor.numpy(), array)
    np.testing.assert_array_equal(tensor.contiguous().numpy(), array)
    assert tensor.contiguous().is_contiguous
    np.testing.assert_array_equal(tensor.reshape([-1]).numpy() if array.size else [], array.ravel())


@pytest.mark.criterion("s1.tensor")
@given(chain=view_chains(), dtype=st.sampled_from([*DTYPES]))
@settings(max_examples=60, deadline=None)
def test_copies_into_views_change_nothing_else(
    device: str, chain: tuple[tuple[int, ...], list[tuple[Any, ...]]], dtype: str
) -> None:
    shape, steps = chain
    whole = np.zeros(shape, DTYPES[dtype])
    tensor = on_device(whole, device)
    part, view = whole, tensor
    for step in steps:
        part = apply_to_array(part, step)
        view = getattr(view, step[0])(*step[1:])
    part[...] = counted(part.shape, dtype) + 1
    _C.copy(on_device(part, device), view)
    np.testing.assert_array_equal(values(tensor), whole)


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize("device", ["cuda"])
def test_a_copy_of_millions_of_elements(device: str) -> None:
    """More than the largest grid of a copy has threads, so that some move two."""
    array = counted((4099, 4099), "u8")
    tensor = on_device(array, device).permute([1, 0])
    np.testing.assert_array_equal(values(tensor), array.T)


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize("shape", [[24], [4, 6], [2, -1], [-1], [1, 24, 1], [2, 3, 2, 2]])
def test_view_and_reshape(device: str, shape: list[int]) -> None:
    array = counted((2, 3, 4))
    tensor = on_device(array, device)
    for result in (tensor.view(shape), tensor.reshape(shape)):
        np.testing.assert_array_equal(values(result), array.reshape(shape))


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize("dtype", DTYPES)
def test_reshape_gathers_what_is_not_contiguous(device: str, dtype: str) -> None:
    array = counted((3, 4), dtype)
    tensor = on_device(array, device).permute([1, 0])
    np.testing.assert_array_equal(values(tensor.reshape([2, 6])), array.T.reshape(2, 6))


@pytest.mark.criterion("s1.tensor")
def test_views_share_memory(device: str) -> None:
    """A rotation in place of a view is seen through the tensor it is a view of."""
    whole = on_device(np.ones((2, 3, 2), np.float32), device)
    cos, sin = (on_device(np.full((1, 1), value, np.float32), device) for value in (0.0, 1.0))
    positions = on_device(np.zeros(2, np.int32), device)
    part = whole.slice(1, 1, 2)
    _C.ops.rope(_C.Context(device), part, positions, cos, sin)
    expected = np.ones((2, 3, 2))
    expected[:, 1] = [-1, 1]
    np.testing.assert_array_equal(values(whole), expected)


@pytest.mark.criterion("s1.tensor")
def test_contiguous_copies_only_what_is_not(device: str) -> None:
    """The copy does not follow its source, the tensor itself does."""
    tensor = _C.zeros([2, 2], "f32", device)
    same, copied = tensor.contiguous(), tensor.permute([1, 0]).contiguous()
    _C.copy(on_device(np.full((2, 2), 5, np.float32), device), tensor)
    assert values(same).all()
    assert not values(copied).any()


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize("shape", [[5], [-1, 5], [-1, -1], [-2, -12], [2, 3, 5], [0, -1]])
@pytest.mark.parametrize("method", ["view", "reshape"])
def test_view_of_another_size(device: str, shape: list[int], method: str) -> None:
    tensor = on_device(counted((2, 3, 4)), device)
    with pytest.raises(ShapeError, match=r"view: .*i32\[2, 3, 4\] on"):
        getattr(tensor, method)(shape)


@pytest.mark.criterion("s1.tensor")
def test_view_needs_contiguous_elements(device: str) -> None:
    tensor = on_device(counted((3, 4)), device)
    for view in (tensor.permute([1, 0]), tensor.slice(1, 0, 2)):
        with pytest.raises(ContiguityError, match=r"view: i32\[\d, \d\] on .* is not contiguous"):
            view.view([-1])


@pytest.mark.parametrize("shape", [[2**62, 4], [2**62 + 1, 4], [2**32, 2**32]])
def test_element_count_does_not_wrap_around(shape: list[int]) -> None:
    """Modulo 2^64 these counts are 0 and 4, which would fit."""
    for count in (0, 4):
        tensor = Tensor.from_numpy(counted((count,)))
        with pytest.raises(ShapeError, match="more elements than can be counted"):
            tensor.view(shape)
        with pytest.raises(ShapeError, match="more elements than can be counted"):
            Tensor.from_buffer(counted((count,)), "i32", shape)


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize(
    ("dim", "start", "stop"), [(0, -1, 1), (0, 0, 4), (0, 2, 1), (1, 0, 5), (2, 0, 1), (-1, 0, 1)]
)
def test_slice_outside(device: str, dim: int, start: int, stop: int) -> None:
    tensor = on_device(counted((3, 4)), device)
    with pytest.raises(ArgumentError, match=r"slice: .*dimension -?\d of i32\[3, 4\] on"):
        tensor.slice(dim, start, stop)


@pytest.mark.criterion("s1.tensor")
def test_slice_of_no_rows(device: str) -> None:
    """A step without tokens still splits its merged projection."""
    tensor = _C.zeros([0, 12], "f32", device)
    assert [tensor.slice(1, *part).shape for part in ((0, 8), (8, 10), (10, 12))] == [
        (0, 8),
        (0, 2),
        (0, 2),
    ]


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize("dims", [[0], [0, 0], [0, 2], [0, 1, 2], [-1, 0], []])
def test_permute_needs_a_permutation(device: str, dims: list[int]) -> None:
    tensor = on_device(counted((3, 4)), device)
    with pytest.raises(ArgumentError, match="permute: not a permutation of the 2 dimensions"):
        tensor.permute(dims)
