"""attention_input with operands of any size: whole, in parts, and what it computes exactly."""

from __future__ import annotations

import numpy as np

from stagegate._C import Context, Tensor, ops
from suites.ops import references
from suites.ops.block_operands import EPS, Sizes, numbers, place_all
from suites.ops.operands import Place, fetch, load, poisoned, rounded

THETA = 1e4
POSITIONS = 50
SLOTS = 120


def rope_tables(context: Context, head_dim: int) -> list[Tensor]:
    return [
        table.to(device=context.device) for table in ops.make_rope_table(POSITIONS, head_dim, THETA)
    ]


class AttentionInput:
    """Operands of attention_input; what it writes is poisoned."""

    def __init__(self, context: Context, sizes: Sizes, dtype: str, place: Place = load) -> None:
        self.context, self.sizes = context, sizes
        width = sizes.qkv_heads * sizes.head_dim
        shapes: dict[str, tuple[int, ...]] = {
            "residual": (sizes.tokens, sizes.hidden),
            "norm": (sizes.hidden,),
            "qkv_weight": (width, sizes.hidden),
        }
        if sizes.bias:
            shapes["qkv_bias"] = (width,)
        if sizes.qk_norm:
            shapes |= dict.fromkeys(("q_norm", "k_norm"), (sizes.head_dim,))
        values = numbers(sizes, **shapes)
        self.values = {name: rounded(array, dtype) for name, array in values.items()}
        absent = dict.fromkeys(("qkv_bias", "q_norm", "k_norm"))
        self.weights = absent | place_all(context, values, dtype, place)
        random = np.random.default_rng(1)
        self.positions = random.integers(0, POSITIONS, sizes.tokens)
        self.slots = random.permutation(SLOTS)[: sizes.tokens]
        self.positions_tensor = load(context, self.positions, "i32")
        self.slots_tensor = load(context, self.slots, "i32")
        self.cos, self.sin = rope_tables(context, sizes.head_dim)
        cache = (SLOTS, sizes.kv_heads, sizes.head_dim)
        self.k_cache, self.v_cache = (poisoned(context, cache, dtype) for _ in range(2))
        self.normed = poisoned(context, (sizes.tokens, sizes.hidden), dtype)
        self.qkv = poisoned(context, (sizes.tokens, sizes.qkv_heads, sizes.head_dim), dtype)

    def run(self, **changes: Tensor | None) -> None:
        operands: dict[str, Tensor | None] = {
            **self.weights, "positions": self.positions_tensor, "cos": self.cos, "sin": self.sin,
            "slot_mapping": self.slots_tensor, "k_cache": self.k_cache, "v_cache": self.v_cache,
            "normed": self.normed, "qkv": self.qkv,
        }  # fmt: skip
        ops.attention_input(self.context, eps=EPS, **operands | changes)  # type: ignore[arg-type]

    def run_parts(self) -> None:
        context, sizes, weights = self.context, self.sizes, self.weights
        residual, norm, weight = (weights[name] for name in ("residual", "norm", "qkv_weight"))
        assert residual is not None
        assert norm is not None
        assert weight is not None
        ops.rms_norm(context, residual, norm, EPS, self.normed)
        merged = self.qkv.view([sizes.tokens, sizes.qkv_heads * sizes.head_dim])
        ops.linear(context, self.normed, weight, weights["qkv_bias"], merged)
        heads, kv_heads = sizes.heads, sizes.kv_heads
        q = self.qkv.slice(1, 0, heads)
        k = self.qkv.slice(1, heads, heads + kv_heads)
        v = self.qkv.slice(1, heads + kv_heads, sizes.qkv_heads)
        for x, name in ((q, "q_norm"), (k, "k_norm")):
            norm = weights[name]
            if norm is not None:
                ops.rms_norm(context, x, norm, EPS, x)
        rotated = self.qkv.slice(1, 0, heads + kv_heads)
        ops.rope(context, rotated, self.positions_tensor, self.cos, self.sin)
        ops.kv_write(context, k, v, self.slots_tensor, self.k_cache, self.v_cache)

    def results(self) -> list[np.ndarray]:
        return [fetch(tensor) for tensor in (self.normed, self.qkv, self.k_cache, self.v_cache)]

    def exact_qkv(self) -> np.ndarray:
        sizes, values = self.sizes, self.values
        normed = references.rms_norm(values["residual"], values["norm"], EPS)
        qkv = references.linear(normed, values["qkv_weight"], values.get("qkv_bias"))
        qkv = qkv.reshape(sizes.tokens, sizes.qkv_heads, sizes.head_dim)
        q, k, v = np.split(qkv, [sizes.heads, sizes.heads + sizes.kv_heads], axis=1)
        if sizes.qk_norm:
            q = references.rms_norm(q, values["q_norm"], EPS)
            k = references.rms_norm(k, values["k_norm"], EPS)
        angles = references.rope_angles(self.positions, sizes.head_dim, THETA)
        return np.concatenate([references.rope(q, angles), references.rope(k, angles), v], axis=1)
