"""The operands of every operator: right ones, and wrong ones that it is to refuse."""

from __future__ import annotations

from stagegate import _C
from stagegate._C import Context, Tensor, ops
from suites.ops.refused_block_operands import BLOCKS
from suites.ops.refused_operands import (
    KEYS,
    PAGED_ATTENTION,
    QUERIES,
    RESULT,
    VALUES,
    Operand,
    Operator,
    call_named,
    first,
    index,
)
from suites.ops.refused_row_operands import DECODE_ROWS


def call_sample(context: Context, **operands: Tensor) -> None:
    logits = operands.pop("logits")
    names = ("token_ids", "logprobs", "top_ids", "top_logprobs")
    outputs = _C.SamplingOutputs(**{name: operands.pop(name) for name in names})
    ops.sample(context, logits, _C.SamplingInputs(**operands), outputs)


ROWS = 3
PARAMETER = Operand((ROWS,), ((ROWS + 1,), (ROWS, 1)), "f32", ("f16", "i32"))

OPERATORS = {
    "linear": Operator(
        call_named(ops.linear),
        {
            "x": first((3, 4), (3, 4, 1), (12,)),
            "weight": Operand((5, 4), ((4, 5), (5, 3), (5, 4, 1))),
            "bias": Operand((5,), ((4,), (6,), (5, 1), (1, 5))),
            # f32 results are allowed whatever the operands are.
            "out": Operand((3, 5), ((5, 3), (3, 4), (2, 5), (15,))),
        },
    ),
    "rms_norm": Operator(
        call_named(ops.rms_norm),
        {
            "x": first((3, 4), (12,), (3, 4, 1, 1)),
            "weight": Operand((4,), ((3,), (1, 4))),
            "out": Operand((3, 4), ((4, 3), (3, 5), (12,))),
        },
        {"eps": 1e-6},
    ),
    "add_rms_norm": Operator(
        call_named(ops.add_rms_norm),
        {
            "x": first((3, 4), (12,), (3, 4, 1)),
            "residual": Operand((3, 4), ((4, 3), (2, 4), (12,))),
            "weight": Operand((4,), ((3,), (1, 4))),
            "out": Operand((3, 4), ((4, 3), (3, 5), (12,))),
        },
        {"eps": 1e-6},
    ),
    "rope": Operator(
        call_named(ops.rope),
        {
            "x": first((3, 2, 6), (3, 12), (3, 2, 6, 1), (3, 2, 5)),
            "positions": index((3,), (2,), (3, 1)),
            "cos": Operand((9, 3), ((9, 6), (9, 2), (27,))),
            "sin": Operand((9, 3), ((8, 3), (9, 2), (27,))),
        },
    ),
    "swiglu": Operator(
        call_named(ops.swiglu),
        {
            "gate_up": first((3, 8), (24,), (3, 7)),
            "out": Operand((3, 4), ((4, 3), (2, 4), (12,))),
        },
    ),
    "add": Operator(
        call_named(ops.add),
        {
            "a": first((3, 4)),
            "b": Operand((3, 4), ((4, 3), (4,), (3, 1))),
            "out": Operand((3, 4), ((4, 3), (12,), (1, 3, 4))),
        },
    ),
    "argmax": Operator(
        call_named(ops.argmax),
        {"x": first((3, 4), (12,), (3, 4, 1)), "out": index((3,), (4,), (3, 1))},
    ),
    "embedding": Operator(
        call_named(ops.embedding),
        {
            "ids": index((3,), (3, 1)),
            "table": first((7, 4), (28,), (7, 4, 1)),
            "out": Operand((3, 4), ((4, 3), (7, 4), (12,))),
        },
    ),
    "fill_sampled": Operator(
        call_named(ops.fill_sampled),
        {
            "last_token": index((5,), (5, 1)),
            "rows": index((3,), (3, 1)),
            "ids": index((3,), (2,), (3, 1)),
        },
    ),
    "kv_write": Operator(
        call_named(ops.kv_write),
        {
            "k": first((3, 2, 6), (3, 12)),
            "v": Operand((3, 2, 6), ((3, 12), (2, 2, 6), (3, 1, 6), (3, 2, 5))),
            "slot_mapping": index((3,), (4,), (3, 1)),
            "k_cache": Operand((9, 2, 6), ((9, 12), (9, 1, 6), (9, 2, 5))),
            "v_cache": Operand((9, 2, 6), ((9, 12), (8, 2, 6), (9, 2, 5))),
        },
    ),
    "self_attention": Operator(
        call_named(ops.self_attention),
        {"q": QUERIES, "k": KEYS, "v": VALUES, "out": RESULT},
        {"scale": 1.0},
    ),
    "self_attention_paged": Operator(
        call_named(ops.self_attention_paged),
        {
            "q": QUERIES,
            "k_cache": KEYS,
            "v_cache": VALUES,
            "used_slots": index((5,), (5, 1)),
            "row_ptr": index((4,), (3,), (4, 1)),
            "col_idx": index((0,), (0, 1)),
            "out": RESULT,
        },
        {"scale": 1.0},
    ),
    "paged_attention": Operator(
        call_named(ops.paged_attention),
        PAGED_ATTENTION,
        {"scale": 1.0, "block_size": 1},
    ),
    "sample": Operator(
        call_sample,
        {
            "logits": Operand((ROWS, 40), ((120,),), "f32", ("f16", "bf16")),
            **{
                parameter.name: Operand(
                    (ROWS,), ((ROWS + 1,), (ROWS, 1)), parameter.dtype, ("f16", "i64")
                )
                for parameter in _C.SAMPLING_PARAMETERS
            },
            "seed": Operand((ROWS,), ((ROWS + 1,),), "i64", ("i32", "f32")),
            "draw_index": Operand((ROWS,), ((ROWS + 1,),), "i64", ("i32", "f32")),
            "history_rows": index((ROWS,), (ROWS + 1,), (ROWS, 1)),
            "history_lens": index((ROWS,), (ROWS - 1,), (ROWS, 1)),
            "history_prompts": index((2,), (3,), (2, 1)),
            "history_tokens": index((2, 5), (10,)),
            "bias_ptr": index((ROWS + 1,), (ROWS,)),
            "bias_ids": index((2,), (2, 1)),
            "bias_values": Operand((2,), ((3,),), "f32", ("f16", "i32")),
            "mask_index": index((ROWS,), (ROWS - 1,), (ROWS, 1)),
            # Two words for 40 tokens.
            "mask_bits": index((2, 2), (2, 3), (4,)),
            "token_ids": index((ROWS,), (ROWS + 1,)),
            "logprobs": PARAMETER,
            "top_ids": index((ROWS, 2), (ROWS + 1, 2), (6,)),
            "top_logprobs": Operand((ROWS, 2), ((ROWS, 3), (6,)), "f32", ("f16", "i32")),
        },
    ),
    **BLOCKS,
    **DECODE_ROWS,
}

# Their rows may be apart, as in a slice of a merged projection.
STRIDED = {
    ("linear", "x"),
    ("rope", "x"),
    *(("rms_norm", name) for name in ("x", "out")),
    *(("attend", name) for name in ("q", "k_cache", "v_cache")),
    *(("kv_write", name) for name in ("k", "v")),
    *(("self_attention", name) for name in ("q", "k", "v")),
    *(
        (op, name)
        for op in ("self_attention_paged", "paged_attention")
        for name in ("q", "k_cache", "v_cache")
    ),
}
