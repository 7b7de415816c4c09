"""Operands of the block operators, and how near to float64 their results have to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from stagegate._C import Context, Tensor, ops
from suites.ops import references
from suites.ops.bounds import UNIT_ROUNDOFF
from suites.ops.operands import Place, load, poisoned, rounded, shifted

EPS = 1e-6


@dataclass(frozen=True)
class Sizes:
    """Of one layer and a step of it."""

    tokens: int
    hidden: int
    kv_heads: int
    group: int
    half: int
    inner: int
    bias: bool
    qk_norm: bool

    @property
    def heads(self) -> int:
        return self.kv_heads * self.group

    @property
    def head_dim(self) -> int:
        return 2 * self.half

    @property
    def qkv_heads(self) -> int:
        return self.heads + 2 * self.kv_heads


SIZES = st.builds(
    Sizes,
    tokens=st.integers(0, 6),
    hidden=st.integers(1, 40) | st.just(64),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 4),
    half=st.integers(1, 12) | st.just(32),
    inner=st.integers(1, 40) | st.just(64),
    bias=st.booleans(),
    qk_norm=st.booleans(),
)
EXAMPLE = Sizes(5, 64, 2, 3, 16, 48, bias=True, qk_norm=True)
PLACES = st.sampled_from([load, shifted])


def numbers(sizes: Sizes, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Norms around 1; weights that keep the size of what they are multiplied with."""
    random = np.random.default_rng([sizes.tokens, sizes.hidden, sizes.inner, sizes.heads])
    values = {}
    for name, shape in shapes.items():
        drawn = random.standard_normal(shape)
        if name.endswith("norm"):
            drawn = 1 + 0.1 * drawn
        elif name.endswith("weight"):
            drawn = drawn / np.sqrt(shape[1])
        values[name] = drawn
    return values


def place_all(
    context: Context, values: Mapping[str, np.ndarray], dtype: str, place: Place
) -> dict[str, Tensor]:
    return {name: place(context, array, dtype) for name, array in values.items()}


def output_operands(
    context: Context, sizes: Sizes, dtype: str, place: Place, width: int
) -> tuple[dict[str, Tensor | None], dict[str, np.ndarray]]:
    """Those of attention_output and of mlp_output, whose weight and bias go by one name here."""
    shapes: dict[str, tuple[int, ...]] = {
        "x": (sizes.tokens, width),
        "weight": (sizes.hidden, width),
        "residual": (sizes.tokens, sizes.hidden),
    }
    if sizes.bias:
        shapes["bias"] = (sizes.hidden,)
    values = numbers(sizes, **shapes)
    tensors: dict[str, Tensor | None] = {"bias": None}
    tensors |= place_all(context, values, dtype, place)
    tensors["projected"] = poisoned(context, shapes["residual"], dtype)
    return tensors, {name: rounded(array, dtype) for name, array in values.items()}


def mlp_input_operands(
    context: Context, sizes: Sizes, dtype: str, place: Place
) -> tuple[dict[str, Tensor | None], dict[str, np.ndarray]]:
    """What mlp_input reads."""
    shapes: dict[str, tuple[int, ...]] = {
        "residual": (sizes.tokens, sizes.hidden),
        "norm": (sizes.hidden,),
        "gate_up_weight": (2 * sizes.inner, sizes.hidden),
    }
    if sizes.bias:
        shapes["gate_up_bias"] = (2 * sizes.inner,)
    values = numbers(sizes, **shapes)
    tensors: dict[str, Tensor | None] = {"gate_up_bias": None}
    tensors |= place_all(context, values, dtype, place)
    return tensors, {name: rounded(array, dtype) for name, array in values.items()}


def run_output(
    block: str, context: Context, sizes: Sizes, tensors: Mapping[str, Tensor], **following: Any
) -> None:
    """following: the norm after the sum."""
    rest: Any = {name: tensors[name] for name in ("projected", "residual")} | following
    if block == "attention_output":
        attention = tensors["x"].view([sizes.tokens, sizes.heads, sizes.head_dim])
        ops.attention_output(
            context, attention=attention, o_weight=tensors["weight"], o_bias=tensors["bias"], **rest
        )
    else:
        ops.mlp_output(
            context, activated=tensors["x"], down_weight=tensors["weight"],
            down_bias=tensors["bias"], **rest,
        )  # fmt: skip


def size_of_terms(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """Root of the sum of squares of what linear adds up: where terms cancel, more than their sum.

    The error of a sum is a share of this.
    """
    return np.sqrt(references.linear(x**2, weight**2, None if bias is None else bias**2))


def assert_near(
    actual: np.ndarray,
    exact: np.ndarray,
    dtype: str,
    roundings: int,
    size: np.ndarray | None = None,
) -> None:
    """In the mean: as far as independent roundings to dtype go, with room for what they meet.

    size: what the roundings are a share of, element by element; None: of the exact values.
    """
    assert actual.shape == exact.shape
    if exact.size == 0:
        return
    error = np.sqrt(np.mean((actual - exact) ** 2))
    met = np.sqrt(np.mean((exact if size is None else np.maximum(size, abs(exact))) ** 2))
    assert error <= 4 * UNIT_ROUNDOFF[dtype] * roundings * met + 1e-30
