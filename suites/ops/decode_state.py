"""The decode state as plain numbers, to hold the operators on its rows against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stagegate import _C
from stagegate._C import Context, Tensor
from suites.ops.operands import fetch, load, poisoned
from suites.ops.sampling_batch import SCALARS

Numbers = Mapping[str, float]
PADDED = -1


@dataclass
class RowModel:
    """What one row holds: as many blocks as it was given, at least for its next token.

    tokens: those that penalties look at; none where the sequence has no penalty.
    """

    last_token: int
    context_len: int
    columns: dict[str, float]
    blocks: list[int] = field(default_factory=list)
    prompt_len: int = 0
    tokens: list[int] = field(default_factory=list)


class DeviceRows:
    """The tensors of a state on a device, and their fields by name."""

    def __init__(self, context: Context, num_rows: int, width: int, positions: int = 1) -> None:
        self.context = context
        self.tensors: dict[str, Tensor] = {
            name: load(context, np.zeros(num_rows), dtype) for name, dtype in SCALARS.items()
        }
        for name in ("last_token", "context_len", "prompt_len"):
            self.tensors[name] = load(context, np.zeros(num_rows), "i32")
        self.tensors["tokens"] = load(context, np.full((num_rows, positions), -9), "i32")
        self.tensors["block_tables"] = load(context, np.full((num_rows, width), -9), "i32")
        self.state = _C.DecodeRows(**self.tensors)

    def fetch(self) -> dict[str, np.ndarray]:
        self.context.synchronize()
        return {name: fetch(tensor) for name, tensor in self.tensors.items()}


def row_changes(
    context: Context,
    starts: Mapping[int, RowModel],
    blocks: Sequence[tuple[int, int, int]],
    *,
    token_ptr: Sequence[int] | None = None,
) -> _C.RowChanges:
    """Rows that begin, and blocks as (row, index, id).

    token_ptr: instead of the offsets of the tokens of each row.
    """
    models = list(starts.values())
    if token_ptr is None:
        token_ptr = np.cumsum([0, *(len(row.tokens) for row in models)]).tolist()
    tensors = {
        "rows": load(context, list(starts), "i32"),
        "last_token": load(context, [row.last_token for row in models], "i32"),
        "context_len": load(context, [row.context_len for row in models], "i32"),
        "prompt_len": load(context, [row.prompt_len for row in models], "i32"),
        "token_ptr": load(context, token_ptr, "i32"),
        "tokens": load(context, [token for row in models for token in row.tokens], "i32"),
    }
    for name, dtype in SCALARS.items():
        tensors[name] = load(context, [row.columns[name] for row in models], dtype)
    names = ("block_rows", "block_indices", "block_ids")
    for name, values in zip(names, np.reshape(blocks, (-1, 3)).T, strict=True):
        tensors[name] = load(context, values, "i32")
    return _C.RowChanges(**tensors)


class Operands:
    """Operands nobody has written yet, and what gather_rows wrote."""

    def __init__(self, context: Context, count: int, width: int) -> None:
        self.context = context
        self.tensors = {name: poisoned(context, (count,), dtype) for name, dtype in SCALARS.items()}
        for name in ("input_ids", "positions", "slot_mapping", "context_lens"):
            self.tensors[name] = poisoned(context, (count,), "i32")
        self.tensors["block_tables"] = poisoned(context, (count, width), "i32")
        self.out = _C.DecodeOperands(**self.tensors)

    def fetch(self) -> dict[str, np.ndarray]:
        self.context.synchronize()
        return {name: fetch(tensor) for name, tensor in self.tensors.items()}


def assert_gathered(
    found: Mapping[str, np.ndarray], rows: Sequence[RowModel | None], block_size: int
) -> None:
    """What a build of the same arrays on the host gives; None is a padded row."""
    for at, row in enumerate(rows):
        scalars = {name: found[name][at] for name in found if name != "block_tables"}
        if row is None:
            expected = dict.fromkeys(SCALARS, 0.0)
            expected |= {"draw_index": PADDED, "slot_mapping": -1}
            expected |= {"input_ids": 0, "positions": 0, "context_lens": 0}
            assert scalars == expected
            continue
        position = row.context_len
        block = position // block_size
        expected = {
            **row.columns,  # of floats, only what 32 bits hold
            "input_ids": row.last_token,
            "positions": position,
            "slot_mapping": row.blocks[block] * block_size + position % block_size,
            "context_lens": position + 1,
        }
        assert scalars == expected
        assert found["block_tables"][at, : block + 1].tolist() == row.blocks[: block + 1]
