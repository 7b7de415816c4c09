"""One safetensors file: the format's rules, on files of a few bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stagegate.errors import ModelError
from stagegate.models.safetensors_file import StoredTensor, read_safetensors

NUMPY_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
SMALL = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [5], "data_offsets": [24, 34]},
    "scalar": {"dtype": "F16", "shape": [], "data_offsets": [34, 36]},
}
SMALL_DATA = bytes(range(36))


def encode(header: object, data: bytes, padding: int = 0) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * padding
    return len(text).to_bytes(8, "little") + text + data


def read(folder: Path, content: bytes) -> dict[str, StoredTensor]:
    path = folder / "weights.safetensors"
    # A new file each time: cutting one short that is mapped would end the process.
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    return read_safetensors(path)


shapes = st.lists(st.integers(0, 4), max_size=3)
entries = st.lists(st.tuples(st.sampled_from(sorted(NUMPY_DTYPES)), shapes), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(entries=entries, padding=st.integers(0, 7), order=st.randoms(use_true_random=False))
def test_what_is_stored_is_read(tmp_path: Path, entries: Any, padding: int, order: Any) -> None:
    """Any shapes, 0 among them, in any order of the header, at any alignment."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for index, (dtype, shape) in enumerate(entries):
        begin = len(data)
        values = np.arange(np.prod(shape, dtype=int)) + 100 * index
        data += values.astype(NUMPY_DTYPES[dtype]).tobytes()
        header[f"t{index}"] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, len(data)]}
    members = list(header.items())
    order.shuffle(members)
    tensors = read(tmp_path, encode(dict(members), data, padding))
    assert len(tensors) == len(entries)
    assert all(a.offset_bytes <= b.offset_bytes for a, b in pairwise(tensors.values()))
    for index, (dtype, shape) in enumerate(entries):
        tensor = tensors[f"t{index}"]
        assert (tensor.dtype, tensor.shape) == (dtype.lower(), tuple(shape))
        expected = np.arange(np.prod(shape, dtype=int)) + 100 * index
        aligned = tensor.aligned()
        assert aligned.offset_bytes % np.dtype(NUMPY_DTYPES[dtype]).itemsize == 0
        for stored in (tensor, aligned):
            np.testing.assert_array_equal(
                np.frombuffer(stored.data(), NUMPY_DTYPES[dtype]), expected
            )


def test_only_a_tensor_off_its_alignment_is_copied(tmp_path: Path) -> None:
    length = len(json.dumps(SMALL))
    on, off = (
        read(tmp_path, encode(SMALL, SMALL_DATA, (shift - length) % 4))["a"] for shift in (0, 1)
    )
    assert on.aligned() is on
    assert off.aligned().buffer == SMALL_DATA[:24]


def test_a_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    content = encode(SMALL, SMALL_DATA)
    for size in range(len(content)):
        with pytest.raises(ModelError, match=r"weights\.safetensors"):
            read(tmp_path, content[:size])


def flips(content: bytes) -> Iterator[bytes]:
    """Every file that differs in one bit of the length or the header."""
    for position in range(len(content) - len(SMALL_DATA)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[position] ^= 1 << bit
            yield bytes(flipped)


def test_a_flipped_bit_of_the_header_changes_no_tensor(tmp_path: Path) -> None:
    """It is refused, unless it only renames: then every dtype, shape and offset is as before.

    Names are checked against the model, by the checkpoint.
    """
    content = encode(SMALL, SMALL_DATA)

    def layout(tensors: dict[str, StoredTensor]) -> list[tuple[str, tuple[int, ...], bytes]]:
        return [(t.dtype, t.shape, bytes(t.data())) for t in tensors.values()]

    expected = layout(read(tmp_path, content))
    refused = 0
    for flipped in flips(content):
        try:
            tensors = read(tmp_path, flipped)
        except ModelError:
            refused += 1
        else:
            assert layout(tensors) == expected
    assert refused > 1000


def changed(name: str, **members: Any) -> dict[str, Any]:
    return {**SMALL, name: {**SMALL[name], **members}}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (changed("b", data_offsets=[26, 36]), "'b'.*hole"),
        (changed("b", data_offsets=[20, 30]), "'b'.*overlaps"),
        (changed("b", data_offsets=[34, 24]), r"'b'.*\[34, 24\]"),
        (changed("b", data_offsets=[24, 35]), "'b'.*11 bytes"),
        (changed("b", data_offsets=[24]), r"'b'.*not \[begin, end\]"),
        (changed("b", data_offsets=[24.0, 34.0]), "'b'.*data_offsets"),
        (changed("b", shape=[6]), "'b'.*10 bytes"),
        (changed("b", shape=[-5]), "'b'.*not a list of sizes"),
        (changed("b", shape=[True, 5]), "'b'.*not a list of sizes"),
        (changed("b", shape=5), "'b'.*not a list of sizes"),
        (changed("b", shape=[1 << 60] * 300), "'b'.*10 bytes"),
        (changed("b", dtype="I16"), "'b'.*I16.*F32, F16, BF16"),
        (changed("b", dtype=["BF16"]), "'b'.*BF16"),
        (changed("b", order="F"), "'b'.*an object of"),
        ({**SMALL, "b": [5]}, "'b'.*an object of"),
        ({"a": SMALL["a"]}, "12 bytes after the last tensor"),
        (b"[]", "header is not valid JSON.*list"),
        (b"{", "header is not valid JSON"),
        (b'{"a": NaN}', "header is not valid JSON.*NaN"),
        (b'{"\xff": 1}', "header is not valid JSON.*utf-8"),
        (b'{"a":' * 100_000, "header is not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "header is not valid JSON"),
    ],
)
def test_refusals_name_the_fault(tmp_path: Path, header: object, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read(tmp_path, encode(header, SMALL_DATA))


def test_a_header_beyond_the_limit_of_the_format(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with path.open("wb") as file:
        file.write((100_000_001).to_bytes(8, "little"))
        file.truncate(8 + 100_000_001)  # sparse
    with pytest.raises(ModelError, match="header of 100000001 bytes"):
        read_safetensors(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be mapped"):
        read_safetensors(tmp_path)
