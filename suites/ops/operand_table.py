"""The operands of every operator: right ones, and wrong ones that it is to refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stagegate import _C
from stagegate._C import Context, Tensor, ops

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operand:
    """A right shape and dtype, and wrong ones it is blamed for while all others are right."""

    shape: Shape
    wrong_shapes: tuple[Shape, ...]
    dtype: str = "f32"
    wrong_dtypes: tuple[str, ...] = ("i32", "f16", "bf16")


@dataclass(frozen=True)
class Operator:
    """call(context, **operands, **values)."""

    call: Callable[..., None]
    operands: Mapping[str, Operand]
    values: Mapping[str, object] = field(default_factory=dict)


def first(shape: Shape, *wrong_shapes: Shape) -> Operand:
    """The operand that others are compared with: they would be blamed for what it may be too."""
    return Operand(shape, wrong_shapes, wrong_dtypes=("i32", "i64", "u8"))


def index(shape: Shape, *wrong_shapes: Shape) -> Operand:
    return Operand(shape, wrong_shapes, "i32", ("i64", "f32", "u8"))


def call_sample(context: Context, **operands: Tensor) -> None:
    logits = operands.pop("logits")
    names = ("token_ids", "logprobs", "top_ids", "top_logprobs")
    outputs = _C.SamplingOutputs(**{name: operands.pop(name) for name in names})
    ops.sample(context, logits, _C.SamplingInputs(**operands), outputs)


def group_of(operands: dict[str, Tensor], group: str) -> dict[str, Tensor]:
    """Takes the tensors of a struct out: those named `group.field`, by their field."""
    names = [name for name in operands if name.startswith(f"{group}.")]
    return {name.removeprefix(f"{group}."): operands.pop(name) for name in names}


def call_set_rows(context: Context, **operands: Tensor) -> None:
    changes = _C.RowChanges(**group_of(operands, "changes"))
    ops.set_rows(context, changes, _C.DecodeRows(**group_of(operands, "state")))


def call_gather_rows(context: Context, block_size: int, **operands: Tensor) -> None:
    state = _C.DecodeRows(**group_of(operands, "state"))
    out = _C.DecodeOperands(**group_of(operands, "out"))
    ops.gather_rows(context, state, operands["rows"], block_size, out)


def call_record_samples(context: Context, **operands: Tensor) -> None:
    state = _C.DecodeRows(**group_of(operands, "state"))
    ops.record_samples(context, state=state, **operands)


def call_attend(context: Context, block_size: int, **operands: Tensor) -> None:
    metadata = _C.PagedMetadata(operands.pop("block_tables"), block_size)
    ops.attend(context, metadata=metadata, **operands)  # type: ignore[arg-type]


def call_named(op: Callable[..., None]) -> Callable[..., None]:
    return lambda context, **operands: op(context=context, **operands)


QUERIES = first((3, 4, 6), (3, 24))
KEYS = Operand((5, 2, 6), ((5, 12), (5, 2, 7)))
VALUES = Operand((5, 2, 6), ((5, 12), (4, 2, 6), (5, 4, 6), (5, 2, 7)))
RESULT = Operand((3, 4, 6), ((3, 24), (2, 4, 6), (3, 2, 6), (3, 4, 7)))
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
        {
            "q": QUERIES,
            "k_cache": KEYS,
            "v_cache": VALUES,
            "block_tables": index((2, 3), (6,), (3, 3)),
            "context_lens": index((2,), (2, 1)),
            "cu_seqlens_q": index((3,), (2,), (4,), (3, 1)),
            "out": RESULT,
        },
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
            "history_ptr": index((ROWS + 1,), (ROWS,)),
            "history_ids": index((2,), (2, 1)),
            "history_counts": index((2,), (3,)),
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
}

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

OPERATORS |= {
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
        {
            "q": QUERIES,
            "k_cache": KEYS,
            "v_cache": VALUES,
            "block_tables": index((2, 3), (6,), (3, 3)),
            "context_lens": index((2,), (2, 1)),
            "cu_seqlens_q": index((3,), (2,), (4,), (3, 1)),
            "out": RESULT,
        },
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


def columns(group: str, rows: int) -> dict[str, Operand]:
    """The columns of a struct: what sample takes, one number a row."""
    dtypes = {parameter.name: parameter.dtype for parameter in _C.SAMPLING_PARAMETERS}
    dtypes |= {"seed": "i64", "draw_index": "i64"}
    return {
        f"{group}.{name}": Operand((rows,), ((rows + 1,), (rows, 1)), dtype, ("f16", "u8"))
        for name, dtype in dtypes.items()
    }


STATE = {
    "state.block_tables": index((5, 4), (20,), (5, 4, 1)),
    "state.last_token": index((5,), (4,), (5, 1)),
    "state.context_len": index((5,), (4,), (5, 1)),
    **columns("state", 5),
}

OPERATORS |= {
    "set_rows": Operator(
        call_set_rows,
        {
            **STATE,
            "changes.rows": index((2,), (2, 1)),
            "changes.last_token": index((2,), (3,), (2, 1)),
            "changes.context_len": index((2,), (3,), (2, 1)),
            **columns("changes", 2),
            "changes.block_rows": index((3,), (3, 1)),
            "changes.block_indices": index((3,), (2,), (3, 1)),
            "changes.block_ids": index((3,), (2,), (3, 1)),
        },
    ),
    "gather_rows": Operator(
        call_gather_rows,
        {
            **STATE,
            "rows": index((3,), (3, 1)),
            "out.input_ids": index((3,), (2,), (3, 1)),
            "out.positions": index((3,), (2,), (3, 1)),
            "out.slot_mapping": index((3,), (2,), (3, 1)),
            "out.context_lens": index((3,), (2,), (3, 1)),
            "out.block_tables": index((3, 4), (3, 5), (2, 4), (12,)),
            **columns("out", 3),
        },
        {"block_size": 2},
    ),
    "record_samples": Operator(
        call_record_samples,
        {
            **STATE,
            "rows": index((3,), (3, 1)),
            "token_ids": index((3,), (2,), (3, 1)),
            "context_lens": index((3,), (2,), (3, 1)),
            "draw_index": Operand((3,), ((2,), (3, 1)), "i64", ("i32", "f32")),
        },
    ),
}
