"""Conversions between the floating formats: round to nearest, ties to even."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine._C import Tensor
from engine.errors import DTypeError

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


def through(values: np.ndarray, dtype: str) -> np.ndarray:
    return Tensor.from_numpy(values).to(dtype=dtype).numpy()


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(values=st.lists(finite, min_size=1, max_size=50))
@settings(max_examples=200, deadline=None)
def test_bf16_rounds_to_the_nearest(values: list[float]) -> None:
    array = np.array(values, np.float32)
    expected = (to_bf16_bits(array).astype(np.uint32) << 16).view(np.float32)
    actual = through(array, "bf16")
    assert actual.tobytes() == expected.tobytes()


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
def test_bf16_at_the_edges(bits: int, expected: int) -> None:
    actual = through(np.array([bits], np.uint32).view(np.float32), "bf16")
    assert actual.view(np.uint32)[0] == expected << 16


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF, 0xFF800001])
@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_not_a_number_stays_one(bits: int, dtype: str) -> None:
    """Rounding the mantissa up would turn some into infinities or zeros."""
    assert np.isnan(through(np.array([bits], np.uint32).view(np.float32), dtype)).all()


@given(values=st.lists(finite | st.floats(-7e4, 7e4, width=32), min_size=1, max_size=50))
@settings(max_examples=200, deadline=None)
def test_f16_is_numpys(values: list[float]) -> None:
    array = np.array(values, np.float32)
    with np.errstate(over="ignore"):
        expected = array.astype(np.float16)
    assert through(array, "f16").tobytes() == expected.tobytes()


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
def test_f16_at_the_edges(value: float, expected: float) -> None:
    assert through(np.array([value], np.float32), "f16")[0] == expected


@pytest.mark.criterion("s1.tensor")
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_every_16_bit_value_survives_f32(device: str, dtype: str) -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    source = bits.view(np.float16) if dtype == "f16" else bits
    tensor = Tensor.from_numpy(source, dtype=dtype).to(device=device)
    wide = tensor.to(device="cpu").to(dtype="f32")
    back = wide.to(dtype=dtype)
    numbers = ~np.isnan(wide.numpy())
    assert numbers.sum() == 2**16 - 2 * (2**10 - 1 if dtype == "f16" else 2**7 - 1)
    expected = tensor.to(device="cpu").numpy()[numbers]
    assert back.numpy()[numbers].tobytes() == expected.tobytes()


@pytest.mark.parametrize(("source", "target"), [("f16", "bf16"), ("bf16", "f16")])
def test_16_bit_formats_convert_into_each_other(source: str, target: str) -> None:
    values = np.array([1.0, 1.0009765625, 70000.0, -0.0, 2.0**-24, np.nan], np.float32)
    first = Tensor.from_numpy(values).to(dtype=source)
    np.testing.assert_array_equal(
        first.to(dtype=target).numpy(), through(first.numpy().astype(np.float32), target)
    )


@pytest.mark.parametrize("target", ["f16", "bf16", "f32"])
def test_strided_views_convert(target: str) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    view = Tensor.from_numpy(array).permute([2, 0, 1]).slice(0, 1, 3)
    converted = view.to(dtype=target)
    assert converted.dtype == target
    np.testing.assert_array_equal(converted.numpy(), array.transpose(2, 0, 1)[1:3])


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i32", "i64", "u8"])
def test_the_same_dtype_is_the_same_tensor(dtype: str) -> None:
    memory = bytearray(16)
    tensor = Tensor.from_buffer(memory, dtype, [2]).to(dtype=dtype)
    memory[:] = b"\x01" * 16
    assert tensor.numpy().all()


@pytest.mark.parametrize(
    ("source", "target"), [("i32", "f32"), ("f32", "i32"), ("i32", "i64"), ("u8", "f16")]
)
def test_integers_do_not_convert(source: str, target: str) -> None:
    tensor = Tensor.from_buffer(bytes(16), source, [2])
    with pytest.raises(DTypeError, match=r"copy: no kernel for [iu]\d+"):
        tensor.to(dtype=target)
