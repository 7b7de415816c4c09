"""The tokens that penalties look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagegate.kv.int_vector import IntVector

if TYPE_CHECKING:
    from stagegate.arrays import Int32Array


class TokenHistory:
    """The distinct tokens of a sequence, kept up to date token by token."""

    __slots__ = ("_counts", "_ids", "_index")

    def __init__(self) -> None:
        self._ids = IntVector()
        self._counts = IntVector()
        self._index: dict[int, int] = {}

    @property
    def ids(self) -> Int32Array:
        """Distinct tokens in the order they first appeared, i32 [P]."""
        return self._ids.values

    @property
    def counts(self) -> Int32Array:
        """How often each was generated, i32 [P]; 0 for a token that is in the prompt only."""
        return self._counts.values

    def add(self, token_id: int, *, generated: bool) -> None:
        index = self._index.setdefault(token_id, len(self._ids))
        if index == len(self._ids):
            self._ids.append(token_id)
            self._counts.append(int(generated))
        elif generated:
            self._counts.values[index] += 1
