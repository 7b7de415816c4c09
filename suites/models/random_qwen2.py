"""Write a Qwen2 checkpoint with seeded random weights.

    python -m suites.models.random_qwen2 group-7 DIR

The files are what Hugging Face transformers writes. The weights are drawn so that the model behaves
like a trained one where it matters to a comparison: layers change the residual stream as much as
the embedding does, greedy choices have a margin, and the key biases are large, as Qwen2's are.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from stagegate.models.registry import load_model_config
from stagegate.models.tensor_map import TensorMap

TOKENIZER = Path(__file__).parent / "tiny-qwen2"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")

# Drawn at a time, each from a generator of its own, so that threads can share a tensor.
_CHUNK_ELEMENTS = 1 << 22

_ITEM_BYTES = {"f32": 4, "f16": 2, "bf16": 2}
_TORCH_DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


@dataclass(frozen=True)
class Dimensions:
    vocab_size: int = 512
    hidden_size: int = 64
    intermediate_size: int = 160
    num_layers: int = 2
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int | None = None  # None: not stated, hidden_size / num_heads
    tie_word_embeddings: bool = True
    rope_theta: float = 10000.0
    max_position_embeddings: int = 1024
    # Times the weights and biases of the queries. With 1, scores spread so far (a deviation of 18)
    # that each layer multiplies rounding errors, and 24 layers in bf16 say little about the exact
    # result; published models of that depth are far from it.
    query_gain: float = 1.0


PRESETS = {
    "group-1": Dimensions(num_heads=4, num_kv_heads=4),
    "group-6": Dimensions(hidden_size=96, num_heads=6, num_kv_heads=1),
    "group-7": Dimensions(hidden_size=112, num_heads=14, num_kv_heads=2, num_layers=3),
    "untied": Dimensions(tie_word_embeddings=False),
    "odd-vocab": Dimensions(vocab_size=509, tie_word_embeddings=False),
    "explicit-head-dim": Dimensions(hidden_size=72, head_dim=32),
    "qwen2-0.5b": Dimensions(
        vocab_size=151936,
        hidden_size=896,
        intermediate_size=4864,
        num_layers=24,
        num_heads=14,
        num_kv_heads=2,
        rope_theta=1e6,
        max_position_embeddings=32768,
        query_gain=0.25,
    ),
    "qwen2-1.5b": Dimensions(
        vocab_size=151936,
        hidden_size=1536,
        intermediate_size=8960,
        num_layers=28,
        num_heads=12,
        num_kv_heads=2,
        rope_theta=1e6,
        max_position_embeddings=32768,
        query_gain=0.25,
    ),
    "qwen2-7b": Dimensions(
        vocab_size=152064,
        hidden_size=3584,
        intermediate_size=18944,
        num_layers=28,
        num_heads=28,
        num_kv_heads=4,
        tie_word_embeddings=False,
        rope_theta=1e6,
        max_position_embeddings=32768,
        query_gain=0.25,
    ),
}

# Dimensions of published models; the rest are small and there for what they cover.
LARGE = ("qwen2-0.5b", "qwen2-1.5b", "qwen2-7b")


def write_random_qwen2(
    directory: Path,
    dimensions: Dimensions,
    *,
    seed: int = 0,
    dtype: str = "bf16",
    shards: int = 1,
) -> Path:
    """Write config, tokenizer and weights to `directory`, which is made; returns it.

    The weights are the same whatever `shards` is, and for every `dtype` ("f32", "f16" or "bf16") up
    to its rounding.
    """
    directory.mkdir(parents=True, exist_ok=True)
    stated = _config_json(dimensions, dtype)
    (directory / "config.json").write_text(json.dumps(stated, indent=2) + "\n")
    for name in TOKENIZER_FILES:
        if (TOKENIZER / name).exists():
            shutil.copy(TOKENIZER / name, directory / name)
    _leave_out_foreign_end(directory / "tokenizer_config.json", dimensions.vocab_size)
    shapes = TensorMap.of(load_model_config(directory)).shapes
    if shards == 1:
        file_of = dict.fromkeys(shapes, "model.safetensors")
    else:
        # Turn by turn, so that a layer's tensors lie in several files.
        file_of = {
            name: f"model-{index % shards + 1:05}-of-{shards:05}.safetensors"
            for index, name in enumerate(shapes)
        }
        total = _ITEM_BYTES[dtype] * sum(math.prod(shape) for shape in shapes.values())
        index = {"metadata": {"total_size": total}, "weight_map": file_of}
        text = json.dumps(index, indent=2) + "\n"
        (directory / "model.safetensors.index.json").write_text(text)
    numbers = {name: number for number, name in enumerate(shapes)}
    for file in set(file_of.values()):
        members = {name: shape for name, shape in shapes.items() if file_of[name] == file}
        _write_weights(directory / file, members, seed, dtype, numbers, dimensions.query_gain)
    return directory


def write_nan(directory: Path, tensor: str, row: int) -> None:
    """Make one row of a matrix NaN, in a checkpoint of one f32 file."""
    file = directory / "model.safetensors"
    # Copies: the file that the arrays are mapped from is the one to write.
    tensors = {name: values.copy() for name, values in load_file(file).items()}
    tensors[tensor][row] = np.nan
    save_file(tensors, file, metadata={"format": "pt"})


def _leave_out_foreign_end(tokenizer_config: Path, vocab_size: int) -> None:
    """State no end token where the tokenizer's is none of a model with a smaller vocabulary."""
    stated = json.loads(tokenizer_config.read_text("utf-8"))
    [end] = [
        int(token_id)
        for token_id, token in stated["added_tokens_decoder"].items()
        if token["content"] == stated["eos_token"]
    ]
    if end >= vocab_size:
        tokenizer_config.write_text(json.dumps(stated | {"eos_token": None}), "utf-8")


def _config_json(dimensions: Dimensions, dtype: str) -> dict[str, object]:
    stated: dict[str, object] = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": dimensions.vocab_size,
        "hidden_size": dimensions.hidden_size,
        "intermediate_size": dimensions.intermediate_size,
        "num_hidden_layers": dimensions.num_layers,
        "num_attention_heads": dimensions.num_heads,
        "num_key_value_heads": dimensions.num_kv_heads,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": dimensions.rope_theta,
        "max_position_embeddings": dimensions.max_position_embeddings,
        "tie_word_embeddings": dimensions.tie_word_embeddings,
        "use_sliding_window": False,
        "torch_dtype": _TORCH_DTYPES[dtype],
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if dimensions.head_dim is not None:
        stated["head_dim"] = dimensions.head_dim
    return stated


def _header(shapes: dict[str, tuple[int, ...]], dtype: str) -> bytes:
    """What stands before the data: 8 bytes of length, then JSON (safetensors README).

    The package writes a file at once; tensors of 7B have to be written one after another.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + _ITEM_BYTES[dtype] * math.prod(shape)
        header[name] = {
            "dtype": dtype.upper(),
            "shape": list(shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_weights(
    file: Path,
    shapes: dict[str, tuple[int, ...]],
    seed: int,
    dtype: str,
    numbers: dict[str, int],
    query_gain: float,
) -> None:
    """One file; numbers: of each tensor in the whole model, which its values are drawn from."""
    header = _header(shapes, dtype)
    with file.open("wb") as stream, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        stream.write(header)
        stream.flush()
        pending = []
        offset = len(header)
        for name, shape in shapes.items():
            count = math.prod(shape)
            mean, deviation = _distribution(name, shape)
            if ".q_proj." in name:
                deviation *= query_gain
            for chunk, begin in enumerate(range(0, count, _CHUNK_ELEMENTS)):
                rng = np.random.default_rng((seed, numbers[name], chunk))
                length = min(_CHUNK_ELEMENTS, count - begin)
                place = offset + _ITEM_BYTES[dtype] * begin
                pending.append(
                    threads.submit(
                        _write_chunk,
                        stream.fileno(), place, rng, length, mean, deviation, dtype,
                    )
                )  # fmt: skip
            offset += _ITEM_BYTES[dtype] * count
        for chunk_written in pending:
            chunk_written.result()


def _write_chunk(
    file: int,
    offset: int,
    rng: np.random.Generator,
    length: int,
    mean: float,
    deviation: float,
    dtype: str,
) -> None:
    values = rng.standard_normal(length, dtype=np.float32)
    values *= np.float32(deviation)
    values += np.float32(mean)
    data = _encode(values, dtype).tobytes()
    written = os.pwrite(file, data, offset)
    assert written == len(data), "the disk is full"


def _distribution(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard deviation of the weights of one tensor."""
    if name.endswith("norm.weight"):
        return 1.0, 0.1
    if name.endswith("k_proj.bias"):
        return 0.0, 8.0
    if name.endswith(".bias"):
        return 0.0, 1.0
    fan_in = shape[1]
    return 0.0, (0.5 if "embed" in name or "lm_head" in name else 2.0 / fan_in**0.5)


def _encode(values: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[np.generic]:
    """Finite f32 as they are stored, rounded to the nearest, ties to even."""
    if dtype != "bf16":
        return values.astype({"f32": "<f4", "f16": "<f2"}[dtype])
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=_ITEM_BYTES, default="bf16")
    parser.add_argument("--shards", type=int, default=1)
    arguments = parser.parse_args()
    write_random_qwen2(
        arguments.directory,
        PRESETS[arguments.preset],
        seed=arguments.seed,
        dtype=arguments.dtype,
        shards=arguments.shards,
    )
    print(arguments.directory)


if __name__ == "__main__":
    main()
