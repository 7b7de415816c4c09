"""The operands of the blocks of a layer, and of what they fuse."""

from __future__ import annotations

from stagegate import _C
from stagegate._C import Context, Tensor, ops
from suites.ops.refused_operands import (
    PAGED_ATTENTION,
    Operand,
    Operator,
    call_named,
    first,
    index,
)


def call_attend(context: Context, block_size: int, **operands: Tensor) -> None:
    metadata = _C.PagedMetadata(operands.pop("block_tables"), block_size)
    ops.attend(context, metadata=metadata, **operands)  # type: ignore[arg-type]


ROTATION_AND_CACHE = {
    "q_norm": Operand((6,), ((3,), (24,), (1, 6))),
    "k_norm": Operand((6,), ((3,), (12,), (1, 6))),
    "positions": index((3,), (2,), (3, 1)),
    "cos": Operand((9, 3), ((9, 6), (27,)), wrong_dtypes=("f16", "i32")),
    "sin": Operand((9, 3), ((8, 3), (9, 2), (27,)), wrong_dtypes=("f16", "i32")),
    "slot_mapping": index((3,), (4,), (3, 1)),
    # Of four heads in qkv, two are queries.
    "k_cache": Operand((9, 1, 6), ((9, 6), (9, 1, 5), (9, 2, 6), (9, 0, 6))),
    "v_cache": Operand((9, 1, 6), ((9, 6), (8, 1, 6), (9, 1, 5))),
}
SUM_AND_NEXT_NORM = {
    "projected": Operand((3, 4), ((4, 3), (3, 5), (12,))),
    "residual": Operand((3, 4), ((2, 4), (12,))),
    "next_norm": Operand((4,), ((3,), (1, 4))),
    "next_normed": Operand((3, 4), ((4, 3), (2, 4), (12,))),
}

BLOCKS = {
    "rope_kv_write": Operator(
        call_named(ops.rope_kv_write),
        {
            "qkv": first((3, 4, 6), (3, 24), (3, 4, 5)),
            **ROTATION_AND_CACHE,
        },
        {"eps": 1e-6},
    ),
    "attention_input": Operator(
        call_named(ops.attention_input),
        {
            "residual": first((3, 4), (12,), (3, 4, 1)),
            "norm": Operand((4,), ((3,), (1, 4))),
            "qkv_weight": Operand((24, 4), ((18, 4), (24, 3), (96,))),
            "qkv_bias": Operand((24,), ((4,), (24, 1))),
            **ROTATION_AND_CACHE,
            "normed": Operand((3, 4), ((4, 3), (2, 4), (12,))),
            "qkv": Operand((3, 4, 6), ((2, 4, 6), (3, 24), (3, 4, 5))),
        },
        {"eps": 1e-6},
    ),
    "attend": Operator(
        call_attend,
        PAGED_ATTENTION,
        {"scale": 1.0, "block_size": 1},
    ),
    "attention_output": Operator(
        call_named(ops.attention_output),
        {
            "attention": first((3, 2, 6), (3, 12), (3, 2, 6, 1)),
            "o_weight": Operand((4, 12), ((12, 4), (5, 12), (4, 11))),
            "o_bias": Operand((4,), ((3,), (4, 1))),
            **SUM_AND_NEXT_NORM,
        },
        {"eps": 1e-6},
    ),
    "mlp_input": Operator(
        call_named(ops.mlp_input),
        {
            "residual": first((3, 4), (12,), (3, 4, 1)),
            "norm": Operand((4,), ((3,), (1, 4))),
            "gate_up_weight": Operand((10, 4), ((4, 10), (10, 3), (5, 4))),
            "gate_up_bias": Operand((10,), ((5,), (10, 1))),
            "normed": Operand((3, 4), ((4, 3), (3, 5), (12,))),
            "projected": Operand((3, 10), ((3, 5), (2, 10), (30,))),
            "activated": Operand((3, 5), ((2, 5), (15,))),
        },
        {"eps": 1e-6},
    ),
    "mlp_output": Operator(
        call_named(ops.mlp_output),
        {
            "activated": first((3, 5), (15,), (3, 5, 1)),
            "down_weight": Operand((4, 5), ((5, 4), (4, 4), (20,))),
            "down_bias": Operand((4,), ((3,), (4, 1))),
            **SUM_AND_NEXT_NORM,
        },
        {"eps": 1e-6},
    ),
    "logits": Operator(
        call_named(ops.logits),
        {
            "residual": first((5, 4), (20,), (5, 4, 1)),
            "indices": index((3,), (3, 1)),
            "norm": Operand((4,), ((3,), (1, 4))),
            "head_weight": Operand((7, 4), ((4, 7), (7, 5), (28,))),
            "head_bias": Operand((7,), ((6,), (7, 1))),
            "rows": Operand((3, 4), ((5, 4), (3, 3), (12,))),
            "out": Operand((3, 7), ((5, 7), (21,)), "f32", ("f16", "bf16", "i32")),
        },
        {"eps": 1e-6},
    ),
}
