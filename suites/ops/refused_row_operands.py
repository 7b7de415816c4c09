"""The operands of what keeps the rows of running sequences on the device."""

from __future__ import annotations

from stagegate import _C
from stagegate._C import Context, Tensor, ops
from suites.ops.refused_operands import Operand, Operator, index


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
    "state.prompt_len": index((5,), (4,), (5, 1)),
    "state.tokens": index((5, 7), (35,), (4, 7)),
    **columns("state", 5),
}

DECODE_ROWS = {
    "set_rows": Operator(
        call_set_rows,
        {
            **STATE,
            "changes.rows": index((2,), (2, 1)),
            "changes.last_token": index((2,), (3,), (2, 1)),
            "changes.context_len": index((2,), (3,), (2, 1)),
            "changes.prompt_len": index((2,), (3,), (2, 1)),
            "changes.token_ptr": index((3,), (2,), (3, 1)),
            "changes.tokens": index((6,), (6, 1)),
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
