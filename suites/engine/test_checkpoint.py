"""Safetensors checkpoints: what is loaded is what was stored, and damage never goes unnoticed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stagegate.errors import ModelError
from stagegate.models.checkpoint import Checkpoint
from stagegate.models.registry import load_model_config
from stagegate.models.safetensors_file import read_safetensors
from stagegate.models.tensor_map import TensorMap
from suites.models.random_qwen2 import PRESETS, write_random_qwen2

UNTIED = PRESETS["untied"]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_qwen2(tmp_path_factory.mktemp("single"), UNTIED)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_qwen2(tmp_path_factory.mktemp("sharded"), UNTIED, shards=3)


def load(path: Path) -> dict[str, tuple[tuple[int, ...], bytes]]:
    with Checkpoint.open(path, TensorMap.of(load_model_config(path))) as checkpoint:
        return {tensor.name: (tensor.shape, bytes(tensor.data())) for tensor in checkpoint}


def read_parts(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def write_parts(path: Path, header: dict[str, Any], data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_every_tensor_of_the_model_comes_once(single: Path) -> None:
    loaded = load(single)
    shapes = TensorMap.of(load_model_config(single)).shapes
    assert {name: shape for name, (shape, _) in loaded.items()} == shapes
    header, data = read_parts(single / "model.safetensors")
    for name, (_, content) in loaded.items():
        begin, end = header[name]["data_offsets"]
        assert content == data[begin:end]


def test_shards_hold_the_same_model(single: Path, sharded: Path) -> None:
    assert load(sharded) == load(single)
    files = {
        tensor.file
        for file in sharded.glob("*.safetensors")
        for tensor in read_safetensors(file).values()
    }
    assert len(files) == 3


@pytest.mark.requires_hf
def test_the_library_reads_the_same(single: Path) -> None:
    from safetensors import safe_open

    loaded = load(single)
    with safe_open(single / "model.safetensors", framework="pt") as theirs:
        assert set(theirs.keys()) == set(loaded)
        import torch

        for name in theirs.keys():  # noqa: SIM118 - not a mapping
            bits = theirs.get_tensor(name).view(torch.int16).numpy().tobytes()
            assert bits == loaded[name][1]


def test_stored_dtypes(single: Path, tmp_path: Path) -> None:
    """f32 is what f16 and bf16 were rounded from, so reading it wrong cannot pass."""
    numpy_dtypes: dict[str, np.dtype[Any]] = {"f32": np.dtype("<f4"), "f16": np.dtype("<f2")}
    arrays: dict[str, dict[str, Any]] = {}
    for dtype, numpy_dtype in numpy_dtypes.items():
        path = write_random_qwen2(tmp_path / dtype, UNTIED, dtype=dtype)
        config = load_model_config(path)
        assert config.dtype == dtype
        with Checkpoint.open(path, TensorMap.of(config)) as checkpoint:
            assert {tensor.dtype for tensor in checkpoint} == {dtype}
            arrays[dtype] = {t.name: np.frombuffer(t.data(), numpy_dtype) for t in checkpoint}
    for name, (_, content) in load(single).items():
        exact = arrays["f32"][name]
        assert np.array_equal(arrays["f16"][name], exact.astype(np.float16))
        bf16 = (np.frombuffer(content, np.uint16).astype(np.uint32) << 16).view(np.float32)
        assert np.all(np.abs(bf16 - exact) <= np.abs(exact) * 2.0**-8)


def test_a_map_outlives_its_checkpoint(single: Path) -> None:
    with Checkpoint.open(single, TensorMap.of(load_model_config(single))) as checkpoint:
        tensor = next(iter(checkpoint))
        view = np.frombuffer(tensor.data(), np.uint16)
    assert view.sum() > 0
    with pytest.raises(ValueError, match="closed"):
        iter(checkpoint)


def damage_header(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        header, data = read_parts(path / "model.safetensors")
        change(header)
        write_parts(path / "model.safetensors", header, data)

    return damage


def rename(header: dict[str, Any]) -> None:
    header["model.extra"] = header.pop("model.norm.weight")


def other_dtype(header: dict[str, Any]) -> None:
    header["model.norm.weight"]["dtype"] = "F8_E4M3"


def other_shape(header: dict[str, Any]) -> None:
    header["model.norm.weight"]["shape"] = [8, 8]


def transposed(header: dict[str, Any]) -> None:
    header["model.layers.0.mlp.down_proj.weight"]["shape"].reverse()


def too_large(header: dict[str, Any]) -> None:
    header["model.norm.weight"]["shape"] = [1 << 40]


def past_the_end(header: dict[str, Any]) -> None:
    begin, end = header["lm_head.weight"]["data_offsets"]
    header["lm_head.weight"]["data_offsets"] = [begin + 64, end + 64]


def overlap(header: dict[str, Any]) -> None:
    names = [f"model.layers.{layer}.input_layernorm.weight" for layer in (0, 1)]
    header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]


def negative(header: dict[str, Any]) -> None:
    header["model.norm.weight"]["data_offsets"] = [-128, 0]


def no_offsets(header: dict[str, Any]) -> None:
    del header["model.norm.weight"]["data_offsets"]


def config_of_more_layers(path: Path) -> None:
    config = json.loads((path / "config.json").read_text())
    config["num_hidden_layers"] += 1
    (path / "config.json").write_text(json.dumps(config))


def no_head(path: Path) -> None:
    write_random_qwen2(path, replace(UNTIED, tie_word_embeddings=True))
    config = json.loads((path / "config.json").read_text())
    del config["tie_word_embeddings"]
    (path / "config.json").write_text(json.dumps(config))


def truncate(path: Path) -> None:
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


def trailing_bytes(path: Path) -> None:
    with (path / "model.safetensors").open("ab") as file:
        file.write(b"\0\0")


def duplicate_key(path: Path) -> None:
    header, data = read_parts(path / "model.safetensors")
    text = json.dumps(header)
    text = text[:-1] + ', "lm_head.weight": ' + json.dumps(header["lm_head.weight"]) + "}"
    (path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text.encode() + data)


def lfs_pointer(path: Path) -> None:
    (path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")


def empty_file(path: Path) -> None:
    (path / "model.safetensors").write_bytes(b"")


def only_a_pickle(path: Path) -> None:
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


def no_weights(path: Path) -> None:
    (path / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_header(rename), r"model\.extra.*not part of the model"),
        (damage_header(other_dtype), r"model\.norm\.weight.*F8_E4M3"),
        (damage_header(other_shape), r"model\.norm\.weight.*\[8, 8\]"),
        (damage_header(transposed), r"down_proj.*\[160, 64\].*asks for \[64, 160\]"),
        (damage_header(too_large), r"model\.norm\.weight.*takes"),
        (damage_header(past_the_end), r"lm_head\.weight.*truncated"),
        (damage_header(overlap), r"layers\.1\.input_layernorm\.weight.*overlaps"),
        (damage_header(negative), r"model\.norm\.weight.*data_offsets"),
        (damage_header(no_offsets), r"model\.norm\.weight"),
        (config_of_more_layers, r"lack 12 tensors.*model\.layers\.2\.input_layernorm"),
        (no_head, r"lack 1 tensors.*'lm_head\.weight'; if.*tie_word_embeddings: true"),
        (truncate, "truncated"),
        (trailing_bytes, "2 bytes after the last tensor"),
        (duplicate_key, r"'lm_head\.weight' appears twice"),
        (lfs_pointer, "git lfs pull"),
        (empty_file, "cannot be mapped"),
        (only_a_pickle, "pickle"),
        (no_weights, r"neither model\.safetensors nor"),
    ],
)
def test_damage_is_named(
    single: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(single, copy)
    damage(copy)
    with pytest.raises(ModelError, match=words):
        load(copy)


def edit_index(change: Callable[[dict[str, str]], None]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        index = json.loads((path / "model.safetensors.index.json").read_text())
        change(index["weight_map"])
        (path / "model.safetensors.index.json").write_text(json.dumps(index))

    return damage


def wrong_shard(weight_map: dict[str, str]) -> None:
    names = sorted(set(weight_map.values()))
    weight_map["lm_head.weight"] = next(
        name for name in names if name != weight_map["lm_head.weight"]
    )


def unlisted(weight_map: dict[str, str]) -> None:
    del weight_map["lm_head.weight"]


def outside(weight_map: dict[str, str]) -> None:
    weight_map["lm_head.weight"] = "../other.safetensors"


def empty_name(weight_map: dict[str, str]) -> None:
    weight_map["lm_head.weight"] = ""


def absent_tensor(weight_map: dict[str, str]) -> None:
    weight_map["model.extra"] = weight_map["lm_head.weight"]


def in_two_shards(path: Path) -> None:
    first, second = sorted(path.glob("*.safetensors"))[:2]
    header, data = read_parts(first)
    begin, end = header["model.embed_tokens.weight"]["data_offsets"]
    copied = data[begin:end]
    entry = header["model.embed_tokens.weight"]
    header, data = read_parts(second)
    entry["data_offsets"] = [len(data), len(data) + len(copied)]
    write_parts(second, {**header, "model.embed_tokens.weight": entry}, data + copied)


def no_weight_map(path: Path) -> None:
    (path / "model.safetensors.index.json").write_text('{"metadata": {}}')


def missing_shard(path: Path) -> None:
    (path / "model-00002-of-00003.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (edit_index(wrong_shard), r"lm_head\.weight"),
        (edit_index(unlisted), r"lm_head\.weight.*nothing of it"),
        (edit_index(outside), r"other\.safetensors"),
        (edit_index(empty_name), r"lm_head\.weight.*name of a \.safetensors file"),
        (edit_index(absent_tensor), r"model\.extra.*no shard"),
        (in_two_shards, r"00002-of.*embed_tokens\.weight.*model-00001-of-00003\.safetensors too"),
        (no_weight_map, r"index\.json.*weight_map"),
        (missing_shard, r"model-00002-of-00003\.safetensors: no such file"),
    ],
)
def test_index_and_shards_must_agree(
    sharded: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sharded, copy)
    damage(copy)
    with pytest.raises(ModelError, match=words):
        load(copy)


def test_a_copy_of_a_tied_head_is_left_out(tmp_path: Path) -> None:
    path = write_random_qwen2(tmp_path / "tied", PRESETS["group-1"])
    header, data = read_parts(path / "model.safetensors")
    begin, end = header["model.embed_tokens.weight"]["data_offsets"]
    header["lm_head.weight"] = {
        **header["model.embed_tokens.weight"],
        "data_offsets": [len(data), len(data) + end - begin],
    }
    write_parts(path / "model.safetensors", header, data + data[begin:end])
    assert "lm_head.weight" not in load(path)
    write_parts(path / "model.safetensors", header, data + bytes(end - begin))
    with pytest.raises(ModelError, match="tie_word_embeddings"):
        load(path)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None
)
@given(cut=st.integers(0, 1 << 30), position=st.integers(0, 1 << 30), byte=st.integers(0, 255))
def test_random_damage_is_refused_or_harmless(
    single: Path, tmp_path: Path, cut: int, position: int, byte: int
) -> None:
    """A cut anywhere is refused; a flipped byte of the header is refused or changes no shape."""
    for name in ("config.json", "model.safetensors"):
        shutil.copy(single / name, tmp_path / name)
    weights = tmp_path / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: cut % len(content)])
    with pytest.raises(ModelError):
        load(tmp_path)
    end_of_header = 8 + int.from_bytes(content[:8], "little")
    flipped = bytearray(content)
    flipped[position % end_of_header] = byte
    weights.write_bytes(flipped)
    try:
        loaded = load(tmp_path)
    except ModelError:
        return
    shapes = TensorMap.of(load_model_config(tmp_path)).shapes
    assert {name: shape for name, (shape, _) in loaded.items()} == shapes
