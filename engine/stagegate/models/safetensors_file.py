"""Reads one safetensors file by mapping it into memory.

The format (https://huggingface.co/docs/safetensors): a little-endian u64 with the size of the
header, the header as a JSON object, then the data of all tensors, without gaps. The header gives
each tensor's dtype, shape and data_offsets, the latter counted from the end of the header. The
safetensors package checks all that; the data stays mapped, and is copied to its place once.
"""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open

from stagegate.errors import ModelError
from stagegate.models.safetensors_faults import (
    DTYPES,
    ITEM_BYTES,
    LENGTH_BYTES,
    FormatError,
    check_data,
    check_members,
    header_of,
)

_GIT_LFS_POINTER: Final = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor where it lies: contiguous row-major data in `buffer` from `offset_bytes` on.

    dtype: "f32", "f16" or "bf16", little-endian.
    buffer: the map of the whole file, shared by its tensors; it lives as long as anybody holds it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    buffer: mmap.mmap | bytes
    offset_bytes: int
    file: Path

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]

    def data(self) -> memoryview:
        """The bytes of this tensor alone, not copied."""
        return memoryview(self.buffer)[self.offset_bytes : self.offset_bytes + self.size_bytes]

    def release(self) -> None:
        """Take the pages of this tensor out of the process; reading it again brings them back.

        Pages that were read count as memory of the process, and stay as long as the map does.
        """
        if isinstance(self.buffer, mmap.mmap) and self.size_bytes:
            begin = self.offset_bytes - self.offset_bytes % mmap.PAGESIZE
            end = self.offset_bytes + self.size_bytes
            self.buffer.madvise(mmap.MADV_DONTNEED, begin, end - begin)

    def aligned(self) -> StoredTensor:
        """This tensor at an address that is a multiple of its element size.

        Itself, unless the writer did not pad the header, which the format allows; then a copy.
        """
        if self.offset_bytes % ITEM_BYTES[self.dtype] == 0:
            return self
        return replace(self, buffer=self.data().tobytes(), offset_bytes=0)


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """All tensors of a file by name, in the order of their data. Reads only the header.

    Raises ModelError naming the file, and the tensor if one is at fault, when the file is truncated
    or does not follow the format, or when a dtype is not a floating-point type of the engine.
    """
    mapping = _map(path)
    if mapping[: len(_GIT_LFS_POINTER)] == _GIT_LFS_POINTER:
        msg = f"{path}: is a Git LFS pointer, not the file itself; run `git lfs pull`"
        raise ModelError(msg)
    try:
        header = header_of(mapping)
        check_members(header)
        data_start = LENGTH_BYTES + int.from_bytes(mapping[:LENGTH_BYTES], "little")
        try:
            return _validated(path, mapping, data_start)
        except SafetensorError as error:
            check_data(header, len(mapping) - data_start)  # says which tensor, where it is one
            raise ModelError(f"{path}: {error}") from error
    except FormatError as fault:
        raise ModelError(f"{path}: {fault}") from fault


def _validated(path: Path, mapping: mmap.mmap, data_start: int) -> dict[str, StoredTensor]:
    """Raises SafetensorError for a file that does not follow the format.

    One that does has its tensors one after another, from the end of the header to that of the file.
    """
    tensors: dict[str, StoredTensor] = {}
    offset = data_start
    with safe_open(path, framework="numpy") as file:
        for name in file.offset_keys():
            view = file.get_slice(name)
            dtype, shape = DTYPES[view.get_dtype()], tuple(view.get_shape())
            tensor = StoredTensor(name, dtype, shape, mapping, offset, path)
            tensors[name] = tensor
            offset += tensor.size_bytes
    return tensors


def _map(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            # The map keeps the file open by itself.
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped.
        raise ModelError(f"{path}: cannot be mapped into memory: {error}") from error
