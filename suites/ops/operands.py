"""Tensors for operator tests, and the exact values they hold."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from stagegate._C import Context, Tensor

Array = np.ndarray
T = TypeVar("T")
# How values become a tensor: load, strided or shifted.
Place = Callable[[Context, Array, str], Tensor]

# Several times the last level cache of a GPU, or of the cores that share one.
COLD_BYTES = 1 << 28


def load(context: Context, values: Array | Sequence[Any], dtype: str) -> Tensor:
    """Contiguous tensor on the device of the context; floats are rounded to dtype."""
    numpy_type = {"i32": np.int32, "i64": np.int64}.get(dtype, np.float32)
    tensor = Tensor.from_numpy(np.asarray(values, numpy_type))
    return tensor.to(dtype=dtype).to(device=context.device)


def strided(context: Context, values: Array, dtype: str) -> Tensor:
    """The same rows as a slice of wider ones, as in a merged projection; NaN lies between them."""
    rows = values.shape[0]
    inner = values.shape[1:]
    padding = np.full((rows, 1, *inner[1:]), np.nan)
    wide = np.concatenate([padding, values, padding, padding], axis=1)
    return load(context, wide, dtype).slice(1, 1, 1 + inner[0])


def shifted(context: Context, values: Array, dtype: str) -> Tensor:
    """The same tensor, contiguous, but one element into its storage: not where 16 bytes begin."""
    flat = np.append(-1 if dtype in ("i32", "i64") else np.nan, np.ravel(values))
    return load(context, flat, dtype).slice(0, 1, flat.size).view(list(np.shape(values)))


def poisoned(context: Context, shape: Sequence[int], dtype: str) -> Tensor:
    """A result nobody has written yet: NaN, or -1 for integers."""
    return load(context, np.full(shape, -1 if dtype in ("i32", "i64") else np.nan), dtype)


def fetch(tensor: Tensor) -> Array:
    """Values on the host: float64 for floats (exact), else integers."""
    array = tensor.to(device="cpu").numpy()
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def rounded(values: Array, dtype: str) -> Array:
    """The float64 values that a tensor of dtype holds after loading these."""
    return fetch(Tensor.from_numpy(np.asarray(values, np.float32)).to(dtype=dtype))


def cold(make: Callable[[], T], size_bytes: int) -> Callable[[], T]:
    """Hands out operands of size_bytes that no cache holds: as many as it takes, in turn.

    What a step reads once, weights and cached keys and values, has left the caches since the step
    before it. A benchmark that used one copy again and again would time a cache.
    """
    return itertools.cycle([make() for _ in range(-(-COLD_BYTES // size_bytes))]).__next__
