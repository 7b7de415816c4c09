"""Reads one safetensors file by mapping it into memory.

The format (https://huggingface.co/docs/safetensors): a little-endian u64 with the size of the
header, the header as a JSON object, then the data of all tensors, without gaps. The header gives
each tensor's dtype, shape and data_offsets, the latter counted from the end of the header.
"""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from stagegate.errors import ModelError
from stagegate.models.json_object import parse_object

_LENGTH_BYTES: Final = 8
# The reference implementation has the same limit.
_MAX_HEADER_BYTES: Final = 100_000_000
_GIT_LFS_POINTER: Final = b"version https://git-lfs"

_DTYPES: Final = {"F32": "f32", "F16": "f16", "BF16": "bf16"}
_ITEM_BYTES: Final = {"f32": 4, "f16": 2, "bf16": 2}


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
        return math.prod(self.shape) * _ITEM_BYTES[self.dtype]

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
        if self.offset_bytes % _ITEM_BYTES[self.dtype] == 0:
            return self
        return replace(self, buffer=self.data().tobytes(), offset_bytes=0)


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """All tensors of a file by name, in the order of their data. Reads only the header.

    Raises ModelError naming the file, and the tensor if one is at fault, when the file is truncated
    or does not follow the format, or when a dtype is not a floating-point type of the engine.
    """
    mapping = _map(path)
    header, data_start = _read_header(path, mapping)
    tensors = [
        _read_entry(path, name, entry, mapping, data_start)
        for name, entry in header.items()
        if name != "__metadata__"
    ]
    # A tensor without elements lies at the begin of the one after it.
    tensors.sort(key=lambda tensor: (tensor.offset_bytes, tensor.size_bytes))
    _check_layout(path, tensors, data_start, len(mapping))
    return {tensor.name: tensor for tensor in tensors}


def _map(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            # The map keeps the file open by itself.
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped.
        raise ModelError(f"{path}: cannot be mapped into memory: {error}") from error


def _read_header(path: Path, mapping: mmap.mmap) -> tuple[dict[str, Any], int]:
    """The parsed header and where the data starts, in bytes."""
    if mapping[: len(_GIT_LFS_POINTER)] == _GIT_LFS_POINTER:
        msg = f"{path}: is a Git LFS pointer, not the file itself; run `git lfs pull`"
        raise ModelError(msg)
    size = int.from_bytes(mapping[:_LENGTH_BYTES], "little")
    data_start = _LENGTH_BYTES + size
    if data_start > len(mapping):
        msg = (
            f"{path}: truncated or not a safetensors file: the header ends at byte {data_start}, "
            f"the file at {len(mapping)}; download it again"
        )
        raise ModelError(msg)
    if size > _MAX_HEADER_BYTES:
        raise ModelError(f"{path}: a header of {size} bytes, over {_MAX_HEADER_BYTES}")
    try:
        return parse_object(mapping[_LENGTH_BYTES:data_start].decode("utf-8")), data_start
    except ValueError as error:
        raise ModelError(f"{path}: the header is not valid JSON: {error}") from error


def _read_entry(
    path: Path, name: str, entry: object, mapping: mmap.mmap, data_start: int
) -> StoredTensor:
    def error(problem: str) -> ModelError:
        return ModelError(f"{path}: tensor {name!r}: {problem}")

    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise error("an object of dtype, shape and data_offsets is needed")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise error(f"dtype {dtype!r} is not supported, only {', '.join(_DTYPES)}")
    if not _is_sizes(shape):
        raise error(f"shape {shape!r} is not a list of sizes")
    if not _is_sizes(offsets) or len(offsets) != 2:
        raise error(f"data_offsets {offsets!r} are not [begin, end]")
    begin, end = offsets
    if not begin <= end <= len(mapping) - data_start:
        raise error(
            f"data_offsets {offsets} do not lie in the {len(mapping) - data_start} bytes of data; "
            "the file may be truncated, download it again"
        )
    tensor = StoredTensor(name, _DTYPES[dtype], tuple(shape), mapping, data_start + begin, path)
    if tensor.size_bytes != end - begin:
        # Without the size that shape takes: Python refuses to print integers of many digits.
        raise error(
            f"data_offsets {offsets} hold {end - begin} bytes, which is not what {dtype} of shape "
            f"{shape} takes"
        )
    return tensor


def _is_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def _check_layout(path: Path, tensors: list[StoredTensor], data_start: int, size: int) -> None:
    """Every byte of data belongs to exactly one tensor."""
    end = data_start
    for tensor in tensors:
        if tensor.offset_bytes != end:
            relation = "overlaps" if tensor.offset_bytes < end else "leaves a hole after"
            msg = (
                f"{path}: tensor {tensor.name!r}: its data at byte {tensor.offset_bytes} "
                f"{relation} what comes before, which ends at {end}"
            )
            raise ModelError(msg)
        end += tensor.size_bytes
    if end != size:
        raise ModelError(f"{path}: {size - end} bytes after the last tensor belong to none")
