from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate._C import Context, Tensor, ops
from suites.adapter.options import DTYPES
from suites.ops import references
from suites.ops.block_operands import assert_near
from suites.ops.examples import examples
from suites.ops.faults import assert_names_one
from suites.ops.operands import Place, fetch, load, poisoned, rounded, shifted

EPS = 1e-6
THETA = 1e4
POSITIONS = 50


@dataclass(frozen=True)
class Heads:
    tokens: int
    heads: int
    kv_heads: int
    dim: int
    normed: bool

    @property
    def all(self) -> int:
        return self.heads + 2 * self.kv_heads


class Call:
    """Operands of one call; every third token is padding, whose slot is -1."""

    def __init__(self, context: Context, heads: Heads, dtype: str, place: Place = load) -> None:
        self.context, self.heads = context, heads
        random = np.random.default_rng([heads.tokens, heads.all, heads.dim])
        values = random.standard_normal((heads.tokens, heads.all, heads.dim))
        norms = 1 + 0.1 * random.standard_normal((2, heads.dim))
        self.values, self.norms = rounded(values, dtype), rounded(norms, dtype)
        self.qkv = place(context, values, dtype)
        self.weights: list[Tensor | None] = [None, None]
        if heads.normed:
            self.weights = [place(context, norm, dtype) for norm in norms]
        self.positions = random.integers(0, POSITIONS, heads.tokens)
        self.slots = random.permutation(2 * heads.tokens)[: heads.tokens]
        self.slots[2::3] = -1
        tables = ops.make_rope_table(POSITIONS, heads.dim, THETA)
        self.cos, self.sin = (table.to(device=context.device) for table in tables)
        cache = (2 * heads.tokens, heads.kv_heads, heads.dim)
        self.caches = [poisoned(context, cache, dtype) for _ in range(2)]

    def run(self) -> list[np.ndarray]:
        q_norm, k_norm = self.weights
        ops.rope_kv_write(
            self.context, qkv=self.qkv, q_norm=q_norm, k_norm=k_norm, eps=EPS,
            positions=load(self.context, self.positions, "i32"), cos=self.cos, sin=self.sin,
            slot_mapping=load(self.context, self.slots, "i32"), k_cache=self.caches[0],
            v_cache=self.caches[1],
        )  # fmt: skip
        return [fetch(tensor) for tensor in (self.qkv, *self.caches)]

    def run_parts(self) -> list[np.ndarray]:
        context, heads = self.context, self.heads
        ends = (0, heads.heads, heads.heads + heads.kv_heads, heads.all)
        q, k, v = (self.qkv.slice(1, *ends[i : i + 2]) for i in range(3))
        for x, norm in zip((q, k), self.weights, strict=True):
            if norm is not None:
                ops.rms_norm(context, x, norm, EPS, x)
        positions = load(context, self.positions, "i32")
        ops.rope(context, self.qkv.slice(1, 0, ends[2]), positions, self.cos, self.sin)
        ops.kv_write(context, k, v, load(context, self.slots, "i32"), *self.caches)
        return [fetch(tensor) for tensor in (self.qkv, *self.caches)]

    def exact(self) -> np.ndarray:
        heads = self.heads
        q, k, v = np.split(self.values, [heads.heads, heads.heads + heads.kv_heads], axis=1)
        if heads.normed:
            q, k = (
                references.rms_norm(x, norm, EPS)
                for x, norm in zip((q, k), self.norms, strict=True)
            )
        angles = references.rope_angles(self.positions, heads.dim, THETA)
        return np.concatenate([references.rope(q, angles), references.rope(k, angles), v], axis=1)


# Those of Qwen2-1.5B and 7B, of Qwen3, of small models, and heads that no warp shares evenly.
HEADS = [
    Heads(5, 12, 2, 128, normed=False), Heads(4, 28, 4, 128, normed=False),
    Heads(5, 16, 8, 128, normed=True), Heads(7, 7, 1, 64, normed=True),
    Heads(6, 4, 2, 256, normed=True), Heads(3, 3, 3, 96, normed=True),
    Heads(3, 3, 1, 80, normed=False), Heads(4, 4, 2, 16, normed=True),
    Heads(3, 2, 1, 6, normed=True), Heads(0, 2, 1, 64, normed=False),
]  # fmt: skip


@pytest.mark.criterion("s1.smoke")
@pytest.mark.parametrize("heads", HEADS, ids=str)
def test_agrees_with_float64_and_its_parts(context: Context, dtype: str, heads: Heads) -> None:
    call = Call(context, heads, dtype)
    qkv, keys, values = call.run()
    assert_near(qkv, call.exact(), dtype, roundings=3)
    for one, other in zip(
        (qkv, keys, values), Call(context, heads, dtype).run_parts(), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    there = call.slots >= 0
    _, k, v = np.split(qkv, [heads.heads, heads.heads + heads.kv_heads], axis=1)
    for cache, written in ((keys, k), (values, v)):
        np.testing.assert_array_equal(cache[call.slots[there]], written[there])
        others = np.setdiff1d(np.arange(2 * heads.tokens), call.slots)
        assert np.isnan(cache[others]).all()


@given(
    heads=st.builds(
        lambda tokens, group, kv_heads, half, normed: Heads(
            tokens, group * kv_heads, kv_heads, 2 * half, normed
        ),
        st.integers(0, 6),
        st.integers(1, 4),
        st.integers(1, 3),
        st.integers(1, 40) | st.sampled_from([4, 8, 32, 64]),
        st.booleans(),
    ),
    dtype=st.sampled_from(DTYPES),
    place=st.sampled_from([load, shifted]),
)
@examples(60)
def test_any_heads(device: str, heads: Heads, dtype: str, place: Place) -> None:
    context = Context(device)
    whole, parts = (Call(context, heads, dtype, place) for _ in range(2))
    for one, other in zip(whole.run(), parts.run_parts(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert_near(fetch(whole.qkv), whole.exact(), dtype, roundings=3)


def test_threads_do_not_change_the_result(
    context: Context, two_threads: Context, dtype: str
) -> None:
    heads = Heads(9, 6, 2, 64, normed=True)
    one, two = (Call(where, heads, dtype).run() for where in (context, two_threads))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("dim", [6, 64])
@pytest.mark.parametrize(
    ("positions", "slots", "sentence"),
    [
        ([0, 50, 2], [0, 1, 2], "rope: position 50 of token 1 is outside a table of 50"),
        ([0, 1, -1], [0, 1, 2], "rope: position -1 of token 2 is outside a table of 50"),
        ([0, 1, 2], [0, 6, -1], "kv_write: slot 6 of token 1 is outside a cache of 6 slots"),
        ([0, 1, 2], [-2, 1, -1], "kv_write: slot -2 of token 0 is outside a cache of 6 slots"),
    ],
)
def test_names_what_is_out_of_range(
    context: Context, dim: int, positions: list[int], slots: list[int], sentence: str
) -> None:
    call = Call(context, Heads(3, 2, 1, dim, normed=False), "f32")
    call.positions, call.slots = np.array(positions), np.array(slots)
    assert_names_one(context, call.run, [sentence])
