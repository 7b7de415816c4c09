"""Copies between host and device are those somebody asked for, and each is counted by name."""

from __future__ import annotations

import numpy as np
import pytest

from stagegate._C import Context, Ledger, Tensor, ops
from suites.ops.operands import fetch, load, poisoned

VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def crossing(device: str) -> bool:
    return device != "cpu"


@pytest.mark.criterion("s1.no-host-path")
def test_a_tensor_crosses_once_each_way(device: str) -> None:
    with Ledger() as ledger:
        there = Tensor.from_numpy(VALUES).to(device=device)
        back = there.to(device="cpu").numpy()
    np.testing.assert_array_equal(back, VALUES)
    expected = {
        ("tensor", "host to device"): (1, VALUES.nbytes),
        ("tensor", "device to host"): (1, VALUES.nbytes),
    }
    assert ledger.copies == (expected if crossing(device) else {})


@pytest.mark.criterion("s1.no-host-path")
def test_views_and_conversions_stay_where_they_are(device: str) -> None:
    tensor = Tensor.from_numpy(VALUES).to(device=device)
    with Ledger() as ledger:
        tensor.view([6, 4]).slice(0, 1, 5)
        gathered = tensor.permute([2, 0, 1]).contiguous()
        tensor.slice(2, 1, 3).reshape([-1])
        converted = tensor.to(dtype="bf16").to(dtype="f32")
    assert ledger.copies == {}
    np.testing.assert_array_equal(gathered.numpy(), VALUES.transpose(2, 0, 1))
    np.testing.assert_array_equal(converted.numpy(), VALUES)


@pytest.mark.criterion("s1.no-host-path", "s2.no-fallback")
def test_operators_run_where_their_operands_are(context: Context, device: str) -> None:
    x = Tensor.from_numpy(VALUES.reshape(6, 4)).to(device=device)
    weight = Tensor.from_numpy(np.eye(4, dtype=np.float32)).to(device=device)
    row = Tensor.from_numpy(np.ones(4, np.float32)).to(device=device)
    out = x.to(dtype="bf16").to(dtype="f32")
    with Ledger() as ledger:
        ops.linear(context, x, weight, row, out)
        ops.rms_norm(context, x, row, 1e-6, out)
        ops.add(context, x, out, out)
    name = {"cpu": "cpu", "cuda": "cuda:0"}[device]
    assert ledger.copies == {}
    assert ledger.dispatches == {("linear", name): 1, ("rms_norm", name): 1, ("add", name): 1}


@pytest.mark.criterion("s2.no-fallback")
@pytest.mark.parametrize("rows", [1, 8, 64])
@pytest.mark.parametrize("with_bias", [False, True])
def test_linear_runs_where_its_operands_are(
    context: Context, device: str, dtype: str, rows: int, with_bias: bool
) -> None:
    """Rows that GPU libraries have kernels for, and some they have none for."""
    for depth, width in ((64, 24), (37, 11)):
        x, weight, bias = (
            load(context, np.ones(shape), dtype) for shape in ((rows, depth), (width, depth), width)
        )
        out = poisoned(context, (rows, width), dtype)
        with Ledger() as ledger:
            ops.linear(context, x, weight, bias if with_bias else None, out)
        assert ledger.copies == {}
        assert ledger.dispatches == {("linear", "cpu" if device == "cpu" else "cuda:0"): 1}
        assert (fetch(out) == depth + with_bias).all()


def test_ledgers_nest_and_a_closed_one_counts_no_more(context: Context, device: str) -> None:
    x = Tensor.from_numpy(VALUES).to(device=device)
    with Ledger() as outer:
        ops.add(context, x, x, x)
        with Ledger() as inner:
            ops.add(context, x, x, x)
        ops.add(context, x, x, x)
    ops.add(context, x, x, x)
    assert sum(inner.dispatches.values()) == 1
    assert sum(outer.dispatches.values()) == 2
