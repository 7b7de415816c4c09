"""The CPU kernels of every instruction set that this processor has, not only the best."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stagegate._C import Context
from stagegate.errors import DeviceError
from suites.ops.attention_batch import BATCHES, FORMS, assert_exact_enough, make_batch
from suites.ops.operands import Place, load, shifted, strided
from suites.ops.test_linear import SHAPES, check, random_operands, run

INSTRUCTION_SETS = ("portable", "avx2", "avx512", "amx")

pytestmark = pytest.mark.parametrize("device", ["cpu"])


def make_context(device: str, instruction_set: str, num_threads: int = 1) -> Context:
    try:
        return Context(device, num_threads, True, instruction_set=instruction_set)
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture(params=INSTRUCTION_SETS)
def instruction_set(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def of_set(device: str, instruction_set: str) -> Context:
    return make_context(device, instruction_set)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_linear_agrees_with_float64(
    of_set: Context, dtype: str, shape: tuple[int, int, int], with_bias: bool
) -> None:
    x, weight, bias = random_operands(*shape)
    check(of_set, x, weight, bias if with_bias else None, dtype)


@pytest.mark.parametrize("out_dtype", ["bf16", "f32"])
@pytest.mark.parametrize(
    ("rows", "depth", "width"),
    [(33, 1100, 40), (32, 544, 291), (530, 40, 48), (48, 1024, 16), (16, 600, 15)],
)
def test_linear_in_blocks_of_rows_depth_and_width(
    of_set: Context, out_dtype: str, rows: int, depth: int, width: int
) -> None:
    """More of each than a kernel takes at a time, and a part of one at the end."""
    check(of_set, *random_operands(rows, depth, width), "bf16", out_dtype=out_dtype)


@pytest.mark.parametrize("place", [strided, shifted])
@pytest.mark.parametrize("rows", [1, 5, 37])
def test_linear_reads_nothing_behind_its_rows(
    of_set: Context, dtype: str, rows: int, place: Place
) -> None:
    x, weight, bias = random_operands(rows, 45, 21)
    check(of_set, x, weight, bias, dtype, place=place)


@pytest.mark.parametrize("out_dtype", ["bf16", "f32"])
@pytest.mark.parametrize(("depth", "width"), [(203, 37), (1100, 300), (896, 64)])
def test_linear_sums_a_row_in_one_order(
    device: str, instruction_set: str, out_dtype: str, depth: int, width: int
) -> None:
    """In any company, in every block of rows, on one thread and on two."""
    one, two = (make_context(device, instruction_set, threads) for threads in (1, 2))
    x, weight, bias = random_operands(530, depth, width)
    rows, w, b = (load(one, values, "bf16") for values in (x, weight, bias))
    whole = run(two, rows, w, b, out_dtype)
    for start, stop in [(0, 1), (3, 5), (10, 26), (0, 33), (500, 530), (511, 513), (529, 530)]:
        part = run(one, rows.slice(0, start, stop), w, b, out_dtype)
        np.testing.assert_array_equal(part, whole[start:stop])


@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_linear_keeps_what_is_not_finite_in_its_row_and_column(
    of_set: Context, rows: int, bad: float
) -> None:
    x, weight, bias = (abs(values) for values in random_operands(rows, 40, 11))
    x[-1, 39] = bad
    weight[7, 38] = bad
    x_there, w_there, b_there = (load(of_set, values, "bf16") for values in (x, weight, bias))
    finite = np.isfinite(run(of_set, x_there, w_there, b_there, "bf16"))
    expected = np.ones((rows, 11), bool)
    expected[-1] = expected[:, 7] = False
    np.testing.assert_array_equal(finite, expected)


@pytest.mark.parametrize("form", FORMS)
def test_attention_agrees_with_float64(
    of_set: Context, dtype: str, form: Callable[..., Any]
) -> None:
    batch = make_batch(*BATCHES["mixture"])
    assert_exact_enough(form(of_set, batch, dtype), batch, batch.visible(), dtype, roundings=0)


def test_one_that_is_not_there_is_refused(device: str) -> None:
    best = Context(device).instruction_set
    for name in INSTRUCTION_SETS[INSTRUCTION_SETS.index(best) + 1 :]:
        message = f"this process cannot use {name}; the best instruction_set here is {best}"
        with pytest.raises(DeviceError, match=message):
            Context(device, instruction_set=name)


# A thread with an alternate signal stack too small for the tiles: Linux refuses the process AMX.
REFUSED = """
import ctypes

class Stack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]

memory = ctypes.create_string_buffer(8192)
stack = Stack(ctypes.addressof(memory), 0, len(memory))
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None) == 0

from stagegate._C import Context
from stagegate.errors import DeviceError

assert Context().instruction_set == "avx512"
try:
    Context(instruction_set="amx")
except DeviceError as error:
    print(error)
"""


def test_without_permission_for_amx_the_next_one_serves(device: str) -> None:
    make_context(device, "amx")
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("context: this process cannot use amx; ")
