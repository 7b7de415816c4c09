"""One operand of an operator: right, and the wrong ones that it has to refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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


def call_named(op: Callable[..., None]) -> Callable[..., None]:
    return lambda context, **operands: op(context=context, **operands)


QUERIES = first((3, 4, 6), (3, 24))
KEYS = Operand((5, 2, 6), ((5, 12), (5, 2, 7)))
VALUES = Operand((5, 2, 6), ((5, 12), (4, 2, 6), (5, 4, 6), (5, 2, 7)))
RESULT = Operand((3, 4, 6), ((3, 24), (2, 4, 6), (3, 2, 6), (3, 4, 7)))

PAGED_ATTENTION = {
    "q": QUERIES,
    "k_cache": KEYS,
    "v_cache": VALUES,
    "block_tables": index((2, 3), (6,), (3, 3)),
    "context_lens": index((2,), (2, 1)),
    "cu_seqlens_q": index((3,), (2,), (4,), (3, 1)),
    "out": RESULT,
}
