from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate._C import Context, Tensor, ops
from suites.adapter.options import DTYPES
from suites.ops import references
from suites.ops.bounds import assert_within, linear_error
from suites.ops.examples import examples
from suites.ops.operands import Place, fetch, load, poisoned, rounded, shifted, strided


def run(
    context: Context, x: Tensor, weight: Tensor, bias: Tensor | None, out_dtype: str
) -> np.ndarray:
    out = poisoned(context, (x.shape[0], weight.shape[0]), out_dtype)
    ops.linear(context, x, weight, bias, out)
    return fetch(out)


def check(
    context: Context,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    dtype: str,
    *,
    out_dtype: str | None = None,
    place: Place = load,
) -> None:
    out_dtype = out_dtype or dtype
    actual = run(
        context,
        place(context, x, dtype),
        load(context, weight, dtype),
        None if bias is None else load(context, bias, dtype),
        out_dtype,
    )
    assert_near(actual, x, weight, bias, dtype, out_dtype)


def assert_near(
    actual: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None,
    dtype: str,
    out_dtype: str,
) -> None:
    """actual: of these operands once they are rounded to dtype."""
    x, weight = rounded(x, dtype), rounded(weight, dtype)
    bias = None if bias is None else rounded(bias, dtype)
    expected = references.linear(x, weight, bias)
    assert_within(actual, expected, out_dtype, linear_error(x, weight, bias, dtype))


def random_operands(rows: int, depth: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng([rows, depth, width])
    return (
        random.standard_normal((rows, depth)),
        random.standard_normal((width, depth)),
        random.standard_normal(width),
    )


# One row, a few, and enough for the path that packs; depths around the widest vectors.
SHAPES = [(1, 1, 1), (1, 33, 7), (3, 64, 8), (7, 17, 9), (8, 31, 25), (9, 129, 24), (40, 100, 33)]


@pytest.mark.criterion("s2.cpu-match")
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_float64(
    context: Context, dtype: str, shape: tuple[int, int, int], with_bias: bool
) -> None:
    x, weight, bias = random_operands(*shape)
    check(context, x, weight, bias if with_bias else None, dtype)


@pytest.mark.parametrize("rows", [1, 20])
def test_f32_result_of_16_bit_operands_keeps_the_f32_sum(
    context: Context, dtype: str, rows: int
) -> None:
    check(context, *random_operands(rows, 96, 40), dtype, out_dtype="f32")


@st.composite
def any_shape(draw: st.DrawFn) -> tuple[int, int, int]:
    """Rows, depth and width: every other time in units of 8, where a library adds the bias."""
    unit = draw(st.sampled_from([1, 8]))
    depth, width = (unit * draw(st.integers(0, most // unit)) for most in (72, 40))
    return draw(st.integers(0, 20)), depth, width


@given(shape=any_shape(), with_bias=st.booleans(), place=st.sampled_from([load, strided]))
@examples(40)
@pytest.mark.parametrize("kind", DTYPES)
def test_any_shape(
    device: str, kind: str, shape: tuple[int, int, int], with_bias: bool, place: Place
) -> None:
    x, weight, bias = random_operands(*shape)
    check(Context(device), x, weight, bias if with_bias else None, kind, place=place)


@lru_cache(maxsize=1)
def layer(depth: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias, drawn once for the tests that follow each other."""
    random = np.random.default_rng([depth, width])
    return (
        random.standard_normal((width, depth), np.float32),
        random.standard_normal(width, np.float32),
    )


@pytest.mark.unsanitized
@pytest.mark.criterion("s2.cpu-match")
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize(
    ("rows", "depth", "width"),
    [(1, 1536, 2048), (8, 1536, 2048), (64, 1536, 2048), (5, 8960, 1536)],
)
def test_layer_of_a_model(context: Context, dtype: str, rows: int, depth: int, width: int) -> None:
    """Every row begins at 16 bytes, so the library adds the bias, and a long sum may be split."""
    x = np.random.default_rng(rows).standard_normal((rows, depth))
    check(context, x, *layer(depth, width), dtype)


def test_cancelling_terms(context: Context, dtype: str) -> None:
    """Each row sums to nearly nothing, so an accumulator narrower than f32 would show."""
    random = np.random.default_rng(3)
    half = random.standard_normal((5, 300)) * 30
    x = np.concatenate([half, half + random.standard_normal((5, 300)) * 0.1], axis=1)
    signs = np.concatenate([np.ones((6, 300)), -np.ones((6, 300))], axis=1)
    check(context, x, signs, None, dtype, out_dtype="f32")


def test_16_bit_sums_do_not_overflow_half_way(context: Context) -> None:
    x = np.array([[60000.0, 60000.0, -60000.0, -59999.0]])
    check(context, x, np.ones((3, 4)), None, "f16")


def test_zero_depth_leaves_the_bias(context: Context, dtype: str) -> None:
    for rows in (1, 9, 40):
        x, weight = np.zeros((rows, 0)), np.zeros((5, 0))
        check(context, x, weight, np.arange(5.0), dtype)
        check(context, x, weight, None, dtype)


@pytest.mark.parametrize(("rows", "width"), [(0, 5), (5, 0), (0, 0)])
def test_empty_result(context: Context, dtype: str, rows: int, width: int) -> None:
    x, weight, bias = random_operands(rows, 8, width)
    x_there, w_there, b_there = (load(context, values, dtype) for values in (x, weight, bias))
    assert run(context, x_there, w_there, b_there, dtype).shape == (rows, width)


@pytest.mark.parametrize("rows", [3, 24])
def test_strided_rows(context: Context, dtype: str, rows: int) -> None:
    x, weight, bias = random_operands(rows, 45, 13)
    w, b = load(context, weight, dtype), load(context, bias, dtype)
    together = run(context, load(context, x, dtype), w, b, dtype)
    apart = run(context, strided(context, x, dtype), w, b, dtype)
    for actual in (together, apart):
        assert_near(actual, x, weight, bias, dtype, dtype)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("apart", [0, 3], ids=["dense", "apart"])
@pytest.mark.parametrize(("depth", "width"), [(203, 37), (208, 40), (896, 1152)])
def test_deterministic_row_is_the_same_in_any_batch(
    device: str, dtype: str, depth: int, width: int, apart: int, with_bias: bool
) -> None:
    """Rows and results on 16-byte boundaries and between them; apart: elements between two rows."""
    context = Context(device, deterministic=True)
    x, weight, bias = random_operands(70, depth, width)
    wide = np.pad(x, ((0, 0), (0, apart)), constant_values=np.nan)
    rows = load(context, wide, dtype).slice(1, 0, depth)
    w, b = load(context, weight, dtype), load(context, bias, dtype) if with_bias else None
    for out_dtype in sorted({dtype, "f32"}):
        whole = run(context, rows, w, b, out_dtype)
        for start, stop in [(0, 1), (3, 5), (10, 17), (60, 70), (0, 16), (1, 66), (69, 70)]:
            part = run(context, rows.slice(0, start, stop), w, b, out_dtype)
            np.testing.assert_array_equal(part, whole[start:stop])


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_threads_do_not_change_the_result(device: str, dtype: str, rows: int) -> None:
    x, weight, bias = random_operands(rows, 130, 61)
    one, two = (
        run(
            context,
            load(context, x, dtype),
            load(context, weight, dtype),
            load(context, bias, dtype),
            dtype,
        )
        for context in (Context(device, threads, True) for threads in (1, 2))
    )
    np.testing.assert_array_equal(one, two)


def test_not_a_number_stays_in_its_row(context: Context, dtype: str) -> None:
    x, weight, bias = random_operands(20, 40, 11)
    x[4, 39] = np.nan
    x_there, w_there, b_there = (load(context, values, dtype) for values in (x, weight, bias))
    bad = np.isnan(run(context, x_there, w_there, b_there, dtype))
    assert bad[4].all()
    assert not np.delete(bad, 4, axis=0).any()


@pytest.mark.parametrize("rows", [1, 20])
@pytest.mark.parametrize("operand", ["x", "weight"])
def test_subnormal_numbers(context: Context, dtype: str, operand: str, rows: int) -> None:
    """Among ordinary products, alone with a factor that makes them ordinary, and as sums."""
    random = np.random.default_rng(rows)
    tiny = 2.0**-20 if dtype == "f16" else 2.0**-130
    rising = [1.0, tiny, tiny, 2.0**-64]
    falling = [1.0, 1.0, 2.0**-10 / tiny, 2.0**-66]
    for chosen in ([0, 1], [2], [3]):
        x = random.uniform(1, 2, (rows, 64)) * np.resize(np.take(rising, chosen), 64)
        weight = random.uniform(1, 2, (11, 64)) * np.resize(np.take(falling, chosen), 64)
        if operand == "weight":
            x, weight = np.resize(weight, (rows, 64)), np.resize(x, (11, 64))
        check(context, x, weight, None, dtype, out_dtype="f32")


OPERANDS = ("x", "weight", "bias", "out")


@pytest.mark.parametrize("moved", [*((name,) for name in OPERANDS), OPERANDS], ids="-".join)
@pytest.mark.parametrize("rows", [1, 5])
def test_operands_between_boundaries(
    context: Context, dtype: str, rows: int, moved: tuple[str, ...]
) -> None:
    """Rows divide into 16 bytes, but the tensors of these names do not begin at a multiple."""
    values = dict(zip(OPERANDS, random_operands(rows, 64, 24), strict=False))

    def place(name: str, array: np.ndarray, kind: str) -> Tensor:
        return (shifted if name in moved else load)(context, array, kind)

    for out_dtype in sorted({dtype, "f32"}):
        x, weight, bias = (place(name, array, dtype) for name, array in values.items())
        out = place("out", np.full((rows, 24), np.nan), out_dtype)
        ops.linear(context, x, weight, bias, out)
        assert_near(fetch(out), **values, dtype=dtype, out_dtype=out_dtype)


def test_a_row_of_any_stride(context: Context, dtype: str) -> None:
    """A column turned into the one row of a table: its strides are (1, 1)."""
    row = load(context, np.arange(8.0)[:, None], dtype).permute([1, 0])
    assert run(context, row, load(context, np.ones((2, 8)), dtype), None, dtype).tolist() == [
        [28.0, 28.0]
    ]


@pytest.mark.parametrize("apart", [0, 16], ids=["dense", "apart"])
def test_numbers_of_rows_that_share_an_algorithm(context: Context, dtype: str, apart: int) -> None:
    """A GPU keeps one for a range of them, timed with the first that comes: all rows on 16-byte
    boundaries, in a table of their own or as a slice of a wider one."""
    weight, bias = random_operands(1, 896, 128)[1:]
    operands = load(context, weight, dtype), load(context, bias, dtype)
    for rows in (17, 32, 20, 300, 257, 384, 1, 16, 2):
        x = np.random.default_rng(rows).standard_normal((rows, 896))
        wide = np.pad(x, ((0, 0), (apart // 2, apart // 2)), constant_values=np.nan)
        part = load(context, wide, dtype).slice(1, apart // 2, apart // 2 + 896)
        actual = run(context, part, *operands, dtype)
        assert_near(actual, x, weight, bias, dtype, dtype)
