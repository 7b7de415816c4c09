"""What is wrong with a safetensors file, in words that name the tensor and the value.

The safetensors package decides whether a file follows the format. It says of a refused file what
kind of fault that is, and for some of them not where.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from stagegate.models.json_object import parse_object

LENGTH_BYTES: Final = 8
DTYPES: Final = {"F32": "f32", "F16": "f16", "BF16": "bf16"}
ITEM_BYTES: Final = {"f32": 4, "f16": 2, "bf16": 2}

# The limit of the format.
_MAX_HEADER_BYTES: Final = 100_000_000
_MEMBERS: Final = {"dtype", "shape", "data_offsets"}


class FormatError(ValueError):
    """The message names the tensor, if one is at fault, but not the file."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """offsets: of the data, from the end of the header."""

    name: str
    offsets: tuple[int, int]


def header_of(content: Any) -> dict[str, Any]:
    """The parsed header of a whole file. Raises FormatError.

    content: bytes or a map of them.
    """
    size = int.from_bytes(content[:LENGTH_BYTES], "little")
    data_start = LENGTH_BYTES + size
    if data_start > len(content):
        msg = (
            f"truncated or not a safetensors file: the header ends at byte {data_start}, the file "
            f"at {len(content)}; download it again"
        )
        raise FormatError(msg)
    if size > _MAX_HEADER_BYTES:
        raise FormatError(f"a header of {size} bytes, over {_MAX_HEADER_BYTES}")
    try:
        return parse_object(content[LENGTH_BYTES:data_start].decode("utf-8"))
    except ValueError as error:
        raise FormatError(f"the header is not valid JSON: {error}") from error


def check_members(header: dict[str, Any]) -> None:
    """What the package overlooks: other members of a tensor, and dtypes the engine has no use for.

    Raises FormatError.
    """
    for name, entry in tensors_of(header):
        if not isinstance(entry, dict) or entry.keys() != _MEMBERS:
            raise _fault(name, "an object of dtype, shape and data_offsets is needed")
        dtype = entry["dtype"]
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise _fault(name, f"dtype {dtype!r} is not supported, only {', '.join(DTYPES)}")


def check_data(header: dict[str, Any], size: int) -> None:
    """Raises FormatError for the first tensor whose shape or place is wrong.

    header: whose members were checked. size: of all data, in bytes.
    """
    entries = [_entry(name, entry, size) for name, entry in tensors_of(header)]
    # A tensor without elements lies at the begin of the one after it.
    entries.sort(key=lambda entry: entry.offsets)
    end = 0
    for entry in entries:
        begin, own_end = entry.offsets
        if begin != end:
            relation = "overlaps" if begin < end else "leaves a hole after"
            problem = (
                f"its data at byte {begin} after the header {relation} what comes before, which "
                f"ends at {end}"
            )
            raise _fault(entry.name, problem)
        end = own_end
    if end != size:
        raise FormatError(f"{size - end} bytes after the last tensor belong to none")


def tensors_of(header: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, entry) for name, entry in header.items() if name != "__metadata__")


def _entry(name: str, entry: dict[str, Any], size: int) -> _Entry:
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not _is_sizes(shape):
        raise _fault(name, f"shape {shape!r} is not a list of sizes")
    if not _is_sizes(offsets) or len(offsets) != 2:
        raise _fault(name, f"data_offsets {offsets!r} are not [begin, end]")
    begin, end = offsets
    if not begin <= end <= size:
        problem = (
            f"data_offsets {offsets} do not lie in the {size} bytes of data; the file may be "
            "truncated, download it again"
        )
        raise _fault(name, problem)
    if math.prod(shape) * ITEM_BYTES[DTYPES[dtype]] != end - begin:
        # Without the size that shape takes: Python refuses to print integers of many digits.
        problem = (
            f"data_offsets {offsets} hold {end - begin} bytes, which is not what {dtype} of shape "
            f"{shape} takes"
        )
        raise _fault(name, problem)
    return _Entry(name, (begin, end))


def _fault(name: str, problem: str) -> FormatError:
    return FormatError(f"tensor {name!r}: {problem}")


def _is_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)
