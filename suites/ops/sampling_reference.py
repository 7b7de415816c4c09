"""What sampling has to do, in float64: the distribution of a draw, and the very token drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from suites.ops.bounds import F32
from suites.ops.references import softmax

Array = np.ndarray
MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class Row:
    """Parameters of one draw. history: token -> times generated; bias: token -> added value.

    allowed: the tokens that may be drawn; None is all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    draw_index: int = 0
    history: Mapping[int, int] = field(default_factory=dict)
    bias: Mapping[int, float] = field(default_factory=dict)
    allowed: frozenset[int] | None = None


def adjusted(logits: Array, row: Row) -> Array:
    """Logits after mask, bias and penalties."""
    logits = np.array(logits, np.float64)
    if row.allowed is not None:
        forbidden = np.ones(len(logits), bool)
        forbidden[list(row.allowed)] = False
        logits[forbidden] = -np.inf
    for token, value in row.bias.items():
        logits[token] += value
    for token, count in row.history.items():
        # Keskar et al., CTRL, 2019, section 4.1, with the sign case of its later implementations.
        logit = logits[token]
        penalty = row.repetition_penalty
        logits[token] = logit / penalty if logit > 0 else logit * penalty
        if count > 0:
            logits[token] -= row.presence_penalty + count * row.frequency_penalty
    return logits


def distribution(logits: Array, row: Row) -> Array:
    """Probability of each token [V] of a row that is not greedy."""
    p = softmax(adjusted(logits, row) / row.temperature)
    p[p < row.min_p * p.max()] = 0
    # A stable sort keeps the lower id first among equals.
    order = np.argsort(-p, kind="stable")
    if row.top_k > 0:
        p[order[row.top_k :]] = 0
    if row.top_p < 1:
        before = np.cumsum(p[order]) - p[order]
        p[order[before >= row.top_p * p.sum()]] = 0
    shares: Array = p / p.sum()
    return shares


def philox(key: tuple[int, int], counter: tuple[int | Array, int, int, int]) -> list[int | Array]:
    """Philox4x32-10 in integers of 64 bits or more (Salmon et al., 2011, section 3.3)."""
    k0, k1 = key
    c0: Any
    c0, c1, c2, c3 = counter
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & MASK, (a >> 32) ^ c3 ^ k1, a & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return [c0, c1, c2, c3]


def uniforms(row: Row, vocab: int) -> Array:
    """The noise of each token, in (0, 1)."""
    key = (row.seed & MASK, (row.seed >> 32) & MASK)
    draw = (row.draw_index & MASK, (row.draw_index >> 32) & MASK)
    blocks = np.arange(-(-vocab // 4), dtype=np.uint64)
    words = np.stack(philox(key, (blocks, *draw, 0)), axis=1).ravel()
    return (words[:vocab].astype(np.float64) + 0.5) * 2.0**-32


def times(logits: Array, row: Row) -> Array:
    """When each token's exponential clock of rate p rings; never where p is 0."""
    p = distribution(logits, row)
    with np.errstate(divide="ignore"):
        rings: Array = -np.log(uniforms(row, len(p))) / p
    return rings


def draw(logits: Array, row: Row) -> int:
    """Gumbel-max as a race of exponential clocks: the first of those with rates p."""
    if row.temperature == 0:
        return int(adjusted(logits, row).argmax())
    return int(times(logits, row).argmin())


def may_draw(token: int, logits: Array, row: Row) -> bool:
    """Whether it is the token drawn, or so near to being it that f32 cannot tell the two apart.

    Bias and penalties round an adjusted logit five times at most. Its distance from the largest
    and the quotient by the temperature round once each, and the exponential is good to 2e-7.
    """
    strength = max(row.repetition_penalty, 1 / row.repetition_penalty)
    added = max((abs(value) for value in row.bias.values() if np.isfinite(value)), default=0)
    most = max(row.history.values(), default=0)
    largest = (
        strength * (np.abs(logits).max() + added)
        + abs(row.presence_penalty)
        + most * abs(row.frequency_penalty)
    )
    error = 5 * F32 * largest
    if row.temperature == 0:
        logits = adjusted(logits, row)
        return bool(logits[token] >= logits.max() - 2 * error)
    exponent = (2 * error + 4 * F32 * largest) / row.temperature + 2e-7 + F32
    clocks = times(logits, row)
    return bool(clocks[token] <= clocks.min() * np.exp(2 * exponent))
