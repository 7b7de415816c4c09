"""The weights of a checkpoint folder: one safetensors file, or shards with an index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from stagegate.errors import ModelError
from stagegate.models.json_object import JsonObject
from stagegate.models.safetensors_file import StoredTensor, read_safetensors

if TYPE_CHECKING:
    from stagegate.models.tensor_map import TensorMap

SINGLE_FILE_NAME: Final = "model.safetensors"
INDEX_FILE_NAME: Final = "model.safetensors.index.json"
# What torch.save writes. Unpickling runs code from the file.
_PICKLE_PATTERNS: Final = ("*.bin", "*.bin.index.json", "*.pt", "*.pth")


class Checkpoint:
    """The tensors of a model, validated against its configuration, ready to be copied out.

    Iterating yields each tensor of the model once, in the order of the data on disk, and drops its
    pages from memory before the next one. Leaving the context drops the maps; a map that a tensor
    still refers to stays valid.
    """

    def __init__(self, tensors: dict[str, StoredTensor]) -> None:
        self._tensors: dict[str, StoredTensor] | None = tensors

    @classmethod
    def open(cls, path: Path, expected: TensorMap) -> Checkpoint:
        """Map the weights in the folder `path`; model.safetensors takes precedence over an index.

        A tied head that repeats the embedding is left out.
        Raises ModelError naming file and tensor if a file is damaged, if index and shards disagree,
        or if the tensors are not exactly those of the model.
        """
        files = _weight_files(path)
        single = files[0].name == SINGLE_FILE_NAME
        tensors = read_safetensors(files[0]) if single else _read_shards(path, files)
        if expected.head not in expected.parts:
            _leave_out_copy(tensors, name=expected.head, original=expected.embedding)
        _check_tensors(path, tensors, expected)
        return cls(tensors)

    def __iter__(self) -> Iterator[StoredTensor]:
        if self._tensors is None:
            msg = "the checkpoint is closed"
            raise ValueError(msg)
        return _in_turn(self._tensors)

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Not mmap.close(): it fails while a tensor of the core refers to the map.
        self._tensors = None


def _in_turn(tensors: dict[str, StoredTensor]) -> Iterator[StoredTensor]:
    for tensor in tensors.values():
        yield tensor.aligned()
        tensor.release()


def stored_dtype(path: Path) -> str:
    """The dtype of the tensors in the folder `path`: "f32", "f16" or "bf16".

    If there are several, it is that of the first tensor by name in the first file by name, as in
    Hugging Face: the head or the embedding. Raises ModelError as `Checkpoint.open` does.
    """
    tensors = read_safetensors(_weight_files(path)[0])
    if not tensors:
        raise ModelError(f"{path}: the safetensors files hold no tensors; download them again")
    return tensors[min(tensors)].dtype


def _weight_files(path: Path) -> list[Path]:
    """The files with tensors, by name; model.safetensors takes precedence over an index."""
    if (path / SINGLE_FILE_NAME).exists():
        return [path / SINGLE_FILE_NAME]
    if (path / INDEX_FILE_NAME).exists():
        shards = [path / name for name in sorted(set(_read_index(path).values()))]
        for shard in shards:
            if not shard.exists():
                msg = f"{shard}: no such file, but {INDEX_FILE_NAME} names it; download it"
                raise ModelError(msg)
        return shards
    raise _no_weights(path)


def _no_weights(path: Path) -> ModelError:
    pickles = sorted({file.name for pattern in _PICKLE_PATTERNS for file in path.glob(pattern)})
    if pickles:
        return ModelError(
            f"{path}: {pickles[0]} is a pickle, which can run code when it is loaded; convert it "
            "with `AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW_DIR)`"
        )
    return ModelError(
        f"{path}: holds neither {SINGLE_FILE_NAME} nor {INDEX_FILE_NAME}; "
        "download the weights of the model into it"
    )


def _read_index(path: Path) -> dict[str, str]:
    """The file of each tensor according to the index."""
    weight_map = JsonObject.read(path / INDEX_FILE_NAME).nested("weight_map")
    shard_of = {name: weight_map.string(name) for name in weight_map}
    if not shard_of:
        raise ModelError(f"{path / INDEX_FILE_NAME}: weight_map is empty; download it again")
    for name, shard in shard_of.items():
        # A shard outside the folder does not belong to the checkpoint.
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise weight_map.error(name, "the name of a .safetensors file in the folder is needed")
    return shard_of


def _read_shards(path: Path, shards: list[Path]) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    for shard in shards:
        for name, tensor in read_safetensors(shard).items():
            if name in tensors:
                msg = f"{tensor.file}: tensor {name!r} is in {tensors[name].file.name} too"
                raise ModelError(msg)
            tensors[name] = tensor
    shard_of = _read_index(path)
    for name in tensors.keys() | shard_of.keys():
        stated = shard_of.get(name)
        found = tensors[name].file.name if name in tensors else None
        if stated != found:
            msg = (
                f"{path / INDEX_FILE_NAME}: tensor {name!r} is in {found or 'no shard'}, "
                f"but the index says {stated or 'nothing of it'}; download index and shards again"
            )
            raise ModelError(msg)
    return tensors


def _leave_out_copy(tensors: dict[str, StoredTensor], *, name: str, original: str) -> None:
    """Drop the copy of a tied head that some training tools save."""
    if name not in tensors or original not in tensors:
        return
    copy, kept = tensors[name], tensors[original]
    same = (copy.dtype, copy.shape) == (kept.dtype, kept.shape) and copy.data() == kept.data()
    for read in (copy, kept):
        read.release()
    if not same:
        msg = (
            f"{copy.file}: tensor {name!r} is not the same as {original!r}, although "
            "config.json ties them; set tie_word_embeddings to false if both are meant"
        )
        raise ModelError(msg)
    del tensors[name]


def _check_tensors(path: Path, tensors: dict[str, StoredTensor], expected: TensorMap) -> None:
    shapes = expected.shapes
    for name, tensor in tensors.items():
        if name not in shapes:
            msg = f"{tensor.file}: tensor {name!r} is not part of the model config.json describes"
            raise ModelError(msg)
        if tensor.shape != shapes[name]:
            msg = (
                f"{tensor.file}: tensor {name!r} has shape {list(tensor.shape)}, "
                f"but config.json asks for {list(shapes[name])}"
            )
            raise ModelError(msg)
    missing = [name for name in shapes if name not in tensors]
    if missing:
        msg = (
            f"{path}: the safetensors files lack {len(missing)} tensors of the model, "
            f"the first is {missing[0]!r}"
        )
        if missing == [expected.head]:
            msg += "; if the embedding is the head too, config.json needs tie_word_embeddings: true"
        raise ModelError(msg)
