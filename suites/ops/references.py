"""The operators in float64, as plainly as their formulas are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stagegate.models.decoder_config import RopeScaling

Array = npt.NDArray[Any]


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    result = x @ weight.T
    return result if bias is None else result + bias


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight  # type: ignore[no-any-return]


def rope_angles(
    positions: Array, head_dim: int, theta: float, scaling: RopeScaling | None = None
) -> Array:
    """[T, head_dim / 2] in radians."""
    frequencies = theta ** (-2.0 * np.arange(head_dim // 2) / head_dim)
    if scaling is not None:
        # Turns within the positions the model was trained on, from the slow ones to the fast ones.
        turns = scaling.original_max_positions * frequencies / (2 * np.pi)
        slow, fast = scaling.low_freq_factor, scaling.high_freq_factor
        kept = np.clip((turns - slow) / (fast - slow), 0, 1)
        frequencies = frequencies * (kept + (1 - kept) / scaling.factor)
    return np.asarray(positions, np.float64)[:, None] * frequencies


def rope(x: Array, angles: Array) -> Array:
    """x [T, heads, head_dim] rotated as complex numbers: first half real, second imaginary."""
    half = x.shape[2] // 2
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)[:, None, :]
    return np.concatenate([turned.real, turned.imag], axis=2)


def swiglu(gate_up: Array) -> Array:
    gate, up = np.split(gate_up, 2, axis=1)
    # Each branch only exponentiates what is not positive.
    small = np.exp(-np.abs(gate))
    sigmoid = np.where(gate >= 0, 1 / (1 + small), small / (1 + small))
    return gate * sigmoid * up  # type: ignore[no-any-return]


def softmax(scores: Array) -> Array:
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()  # type: ignore[no-any-return]


def attention(
    q: Array, k: Array, v: Array, scale: float, visible: Sequence[Sequence[int] | Array]
) -> tuple[Array, Array, Array]:
    """Query t over the rows visible[t] of k and v; zeros where it sees none.

    Returns the result, the same sum over absolute values of v, and for each query and head the
    largest sum of absolute products behind a score: what rounding errors are relative to.
    """
    group = q.shape[1] // k.shape[1]
    result, magnitude = np.zeros_like(q), np.zeros_like(q)
    products = np.zeros(q.shape[:2])
    for t, rows in enumerate(visible):
        if len(rows) == 0:
            continue
        for head in range(q.shape[1]):
            keys, values = k[rows, head // group], v[rows, head // group]
            weights = softmax(scale * (keys @ q[t, head]))
            result[t, head] = weights @ values
            magnitude[t, head] = weights @ np.abs(values)
            products[t, head] = scale * (np.abs(keys) @ np.abs(q[t, head])).max()
    return result, magnitude, products
