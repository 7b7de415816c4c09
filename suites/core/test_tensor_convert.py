"""Conversions between the floating formats: round to nearest, ties to even."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagegate import _C
from stagegate._C import Tensor
from stagegate.errors import DTypeError

FORMATS = ("f32", "f16", "bf16")
BF16_MAX = 0x7F7F


def to_bf16_bits(values: np.ndarray) -> np.ndarray:
    """Of the two bf16 neighbours of each finite value the nearer one, the even one of a tie."""
    exact = values.astype(np.float64)
    below = (values.view(np.uint32) >> 16).astype(np.uint32)  # towards zero
    above = below + 1
    low = (below << 16).view(np.float32).astype(np.float64)
    # The neighbour of the largest number stands for infinity: 2^128.
    overflow = (below & 0x7FFF) == BF16_MAX
    high = (above << 16).view(np.float32).astype(np.float64)
    high = np.where(overflow, np.copysign(2.0**128, exact), high)
    nearer_high = abs(high - exact) < abs(exact - low)
    tie = abs(high - exact) == abs(exact - low)
    return np.where(nearer_high | (tie & (below % 2 == 1)), above, below).astype(np.uint16)


def nearest(values: np.ndarray, dtype: str) -> np.ndarray:
    """As f32, what a tensor of dtype has to hold of these f32 values."""
    if dtype == "f32":
        return values
    if dtype == "f16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    finite_values = np.where(np.isfinite(values), values, np.float32(0))
    rounded = (to_bf16_bits(finite_values).astype(np.uint32) << 16).view(np.float32)
    return np.where(np.isfinite(values), rounded, values)


def every_value(dtype: str) -> np.ndarray:
    """As f32, what the 2^16 patterns of a 16-bit format stand for."""
    bits = np.arange(2**16, dtype=np.uint16)
    return (
        bits.view(np.float16).astype(np.float32)
        if dtype == "f16"
        else (bits.astype(np.uint32) << 16).view(np.float32)
    )


def edges() -> np.ndarray:
    """Every value of the 16-bit formats, what lies half way to the next one, and the f32 neighbours
    of that, with both signs; NaN with high and low bits of its payload.
    """
    patterns = [np.array([0x7F800001, 0x7FC00000, 0x7FFFFFFF], np.uint32)]
    for dtype, overflow in (("f16", 2.0**16), ("bf16", 2.0**128)):
        values = every_value(dtype)
        numbers = values[np.isfinite(values) & ~np.signbit(values)].astype(np.float64)
        middle = (numbers + np.append(numbers[1:], overflow)) / 2
        bits = middle.astype(np.float32).view(np.uint32)
        patterns += [values.view(np.uint32), bits - 1, bits, bits + 1]
    positive = np.concatenate(patterns)
    return np.concatenate([positive, positive | 0x80000000]).view(np.float32)


def assert_same_bits(actual: np.ndarray, expected: np.ndarray) -> None:
    """Signs of zeros included; NaN is NaN, whatever its payload."""
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(actual), ~number)
    np.testing.assert_array_equal(actual.view(np.uint32)[number], expected.view(np.uint32)[number])


def convert(tensor: Tensor, dtype: str) -> np.ndarray:
    """Converted where the tensor is; the way to the host moves plain bytes."""
    return tensor.to(dtype=dtype).contiguous().to(device="cpu").numpy()


def through(values: np.ndarray, dtype: str, device: str) -> np.ndarray:
    return convert(Tensor.from_numpy(values).to(device=device), dtype)


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(FORMATS, 2)))
@pytest.mark.parametrize("contiguous", [True, False])
def test_every_pair_rounds_to_the_nearest(
    device: str, source: str, target: str, contiguous: bool
) -> None:
    values = edges() if source == "f32" else every_value(source)
    values = values[: len(values) // 2 * 2].reshape(-1, 2)
    tensor = Tensor.from_numpy(values).to(dtype=source).to(device=device)
    if not contiguous:
        values, tensor = values.T, tensor.permute([1, 0])
    actual = convert(tensor, target).astype(np.float32)
    assert_same_bits(actual, np.ascontiguousarray(nearest(values, target)))


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.criterion("s1.tensor")
@given(values=st.lists(finite, min_size=1, max_size=50))
@settings(max_examples=200, deadline=None)
def test_bf16_rounds_to_the_nearest(device: str, values: list[float]) -> None:
    array = np.array(values, np.float32)
    expected = (to_bf16_bits(array).astype(np.uint32) << 16).view(np.float32)
    actual = through(array, "bf16", device)
    assert actual.tobytes() == expected.tobytes()


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0x3F808000, 0x3F80),  # a tie goes down to even
        (0x3F818000, 0x3F82),  # a tie goes up to even
        (0x3F808001, 0x3F81),
        (0x3F807FFF, 0x3F80),
        (0xBF818000, 0xBF82),
        (0x7F7F7FFF, 0x7F7F),
        (0x7F7F8000, 0x7F80),  # past the largest number: infinity
        (0x7F7FFFFF, 0x7F80),
        (0xFF7F8000, 0xFF80),
        (0x7F800000, 0x7F80),
        (0x80000000, 0x8000),
        (0x00008000, 0x0000),  # subnormals round like the rest
        (0x00018000, 0x0002),
    ],
)
def test_bf16_at_the_edges(device: str, bits: int, expected: int) -> None:
    actual = through(np.array([bits], np.uint32).view(np.float32), "bf16", device)
    assert actual.view(np.uint32)[0] == expected << 16


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize("bits", [0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF, 0xFF800001])
@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_not_a_number_stays_one(device: str, bits: int, dtype: str) -> None:
    """Rounding the mantissa up would turn some into infinities or zeros."""
    assert np.isnan(through(np.array([bits], np.uint32).view(np.float32), dtype, device)).all()


@pytest.mark.criterion("s1.tensor")
@given(values=st.lists(finite | st.floats(-7e4, 7e4, width=32), min_size=1, max_size=50))
@settings(max_examples=200, deadline=None)
def test_f16_is_numpys(device: str, values: list[float]) -> None:
    array = np.array(values, np.float32)
    with np.errstate(over="ignore"):
        expected = array.astype(np.float16)
    assert through(array, "f16", device).tobytes() == expected.tobytes()


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (65504.0, 65504.0),
        (65519.99, 65504.0),
        (65520.0, np.inf),  # half way to what would come next
        (-65520.0, -np.inf),
        (np.inf, np.inf),
        (2.0**-24, 2.0**-24),
        (2.0**-25, 0.0),
        (1.5 * 2.0**-24, 2.0**-23),
    ],
)
def test_f16_at_the_edges(device: str, value: float, expected: float) -> None:
    assert through(np.array([value], np.float32), "f16", device)[0] == expected


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_every_16_bit_value_survives_f32(device: str, dtype: str) -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    source = bits.view(np.float16) if dtype == "f16" else bits
    tensor = Tensor.from_numpy(source, dtype=dtype).to(device=device)
    wide = tensor.to(dtype="f32")
    back = wide.to(dtype=dtype).to(device="cpu")
    numbers = ~np.isnan(wide.to(device="cpu").numpy())
    assert numbers.sum() == 2**16 - 2 * (2**10 - 1 if dtype == "f16" else 2**7 - 1)
    expected = tensor.to(device="cpu").numpy()[numbers]
    assert back.numpy()[numbers].tobytes() == expected.tobytes()


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize(("source", "target"), [("f16", "bf16"), ("bf16", "f16")])
def test_16_bit_formats_convert_into_each_other(device: str, source: str, target: str) -> None:
    values = np.array([1.0, 1.0009765625, 70000.0, -0.0, 2.0**-24, np.nan], np.float32)
    first = Tensor.from_numpy(values).to(dtype=source)
    np.testing.assert_array_equal(
        convert(first.to(device=device), target),
        through(first.numpy().astype(np.float32), target, device),
    )


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize("target", ["f16", "bf16", "f32"])
def test_strided_views_convert(device: str, target: str) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    tensor = Tensor.from_numpy(array).to(device=device)
    converted = tensor.permute([2, 0, 1]).slice(0, 1, 3).to(dtype=target)
    assert converted.dtype == target
    assert converted.device == tensor.device
    actual = convert(converted, target)
    np.testing.assert_array_equal(actual, array.transpose(2, 0, 1)[1:3])


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i32", "i64", "u8"])
def test_the_same_dtype_is_the_same_tensor(device: str, dtype: str) -> None:
    """What is written into one is seen in the other."""
    tensor = _C.zeros([2], dtype, device)
    same = tensor.to(dtype=dtype)
    _C.copy(Tensor.from_buffer(b"\x01" * 16, dtype, [2]).to(device=device), tensor)
    assert same.to(device="cpu").numpy().all()


@pytest.mark.parametrize(
    ("source", "target"), [("i32", "f32"), ("f32", "i32"), ("i32", "i64"), ("u8", "f16")]
)
def test_integers_do_not_convert(device: str, source: str, target: str) -> None:
    tensor = Tensor.from_buffer(bytes(16), source, [2]).to(device=device)
    with pytest.raises(DTypeError, match=r"copy: no kernel for [iu]\d+"):
        tensor.to(dtype=target)
