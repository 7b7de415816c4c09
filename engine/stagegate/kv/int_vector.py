"""A growable array of 32-bit integers that numpy can read in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from stagegate.arrays import Int32Array


class IntVector:
    """Amortised O(1) append; block tables, cell lists and token counts grow one step at a time."""

    __slots__ = ("_data", "_size")

    def __init__(self) -> None:
        self._data = np.empty(16, dtype=np.int32)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> Int32Array:
        """The elements, i32 [len], as a view that the next growth may leave behind."""
        return self._data[: self._size]

    def append(self, value: int) -> None:
        self._reserve(self._size + 1)
        self._data[self._size] = value
        self._size += 1

    def extend(self, values: npt.ArrayLike) -> None:
        added = np.asarray(values, dtype=np.int32)
        self._reserve(self._size + len(added))
        self._data[self._size : self._size + len(added)] = added
        self._size += len(added)

    def truncate(self, size: int) -> None:
        """Keep the first `size` elements."""
        self._size = min(size, self._size)

    def _reserve(self, size: int) -> None:
        if size > len(self._data):
            grown = np.empty(max(size, 2 * len(self._data)), dtype=np.int32)
            grown[: self._size] = self._data[: self._size]
            self._data = grown
