"""Weights of a folder on their way into the engine: in which dtype, and in how much memory."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from stagegate.errors import ModelError
from stagegate.llm import LLM
from stagegate.models.registry import load_model_config
from stagegate.models.safetensors_file import read_safetensors
from suites.engine.edited_checkpoint import DIMENSIONS, Edits, edited
from suites.models.random_qwen2 import Dimensions, write_random_qwen2

NO_DTYPE: Edits = {"config.json": {"torch_dtype": ...}}
NULL_DTYPE: Edits = {"config.json": {"torch_dtype": None}}


@pytest.mark.parametrize("edits", [NO_DTYPE, NULL_DTYPE])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_without_a_stated_dtype_it_is_that_of_the_tensors(
    tmp_path: Path, dtype: str, shards: int, edits: Edits
) -> None:
    original = write_random_qwen2(tmp_path / "original", DIMENSIONS, dtype=dtype, shards=shards)
    folder = edited(original, tmp_path / "copy", edits)
    assert load_model_config(folder).dtype == dtype
    assert load_model_config(folder, dtype="f16").dtype == "f16"


def test_of_several_stored_dtypes_the_first_by_name_counts(tmp_path: Path) -> None:
    folder = edited(
        write_random_qwen2(tmp_path / "original", DIMENSIONS), tmp_path / "copy", NO_DTYPE
    )
    path = folder / "model.safetensors"
    arrays = {name: as_f32(tensor) for name, tensor in read_safetensors(path).items()}
    for first, others in (("f16", "f32"), ("f32", "f16")):
        stored = {
            name: array.astype("<f2" if (first if "embed" in name else others) == "f16" else "<f4")
            for name, array in arrays.items()
        }
        write_safetensors(path, stored)
        assert load_model_config(folder).dtype == first


def test_a_folder_without_weights_needs_a_dtype(checkpoint_original: Path, tmp_path: Path) -> None:
    folder = edited(checkpoint_original, tmp_path / "copy", {**NO_DTYPE, "model.safetensors": None})
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor"):
        load_model_config(folder)
    assert load_model_config(folder, dtype="bf16").dtype == "bf16"


@pytest.mark.parametrize("stated", ["float32", "int8", "auto", ...])
def test_an_engine_computes_in_the_dtype_it_is_given(
    checkpoint_original: Path, tmp_path: Path, stated: object
) -> None:
    edits: Edits = {"config.json": {"torch_dtype": stated}}
    folder = edited(checkpoint_original, tmp_path / "copy", edits)
    engine = LLM(folder, dtype="bf16", kv_capacity_tokens=256).engine
    assert engine.model.dtype == "bf16"
    assert engine.executor.memory_bytes["weights"] == 2 * num_elements(folder)


def num_elements(folder: Path) -> int:
    tensors = read_safetensors(folder / "model.safetensors").values()
    return sum(math.prod(tensor.shape) for tensor in tensors)


def as_f32(tensor: Any) -> npt.NDArray[np.float32]:
    bits = np.frombuffer(tensor.data(), "<u2").astype(np.uint32) << 16
    return bits.view(np.float32).reshape(tensor.shape)


def write_safetensors(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    header, end = {}, 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": {"<f2": "F16", "<f4": "F32"}[array.dtype.str],
            "shape": list(array.shape),
            "data_offsets": [end, end + array.nbytes],
        }
        end += array.nbytes
    text = json.dumps(header).encode()
    data = b"".join(array.tobytes() for array in arrays.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


# Its own process: the most memory a process ever had is what it reports.
_LOAD = """
import sys
from pathlib import Path
from stagegate import _C
from stagegate.config import EngineConfig
from stagegate.models.registry import load_model_config
from stagegate.models.weights import load_weights

def most_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

config = EngineConfig(model=Path(sys.argv[1]))
context = _C.Context(device="cpu", num_threads=1, deterministic=False, attention="native")
model = load_model_config(config.model)
before = most_kib()
weights = load_weights(config.model, model, sys.argv[2], context)
print((most_kib() - before) * 1024)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dimensions = Dimensions(
        vocab_size=512, hidden_size=1024, intermediate_size=4096, num_layers=6, num_heads=16
    )
    return write_random_qwen2(tmp_path_factory.mktemp("large") / "model", dimensions)


@pytest.mark.parametrize(("dtype", "item_bytes"), [("bf16", 2), ("f32", 4)])
def test_weights_are_not_held_twice_while_loading(large: Path, dtype: str, item_bytes: int) -> None:
    weights = item_bytes * num_elements(large)
    assert weights > 150e6
    command = [sys.executable, "-c", _LOAD, str(large), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert weights <= int(done.stdout) < 1.2 * weights
