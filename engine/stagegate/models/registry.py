"""The supported architectures, and detection of the architecture of a checkpoint folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from stagegate.errors import ModelError
from stagegate.models import qwen2
from stagegate.models.architecture import Architecture
from stagegate.models.checkpoint import stored_dtype
from stagegate.models.json_object import JsonObject
from stagegate.models.model_config import ModelConfig

_logger = logging.getLogger(__name__)

FILE_NAME = "config.json"
_ADAPTER_FILE_NAME: Final = "adapter_config.json"

ARCHITECTURES: Final[dict[str, Architecture]] = {
    architecture.name: architecture for architecture in (qwen2.ARCHITECTURE,)
}

# Keys of config.json that are read here for every architecture.
READ_KEYS: Final = frozenset((
    "architectures", "bos_token_id", "dtype", "eos_token_id", "model_type", "torch_dtype",
))  # fmt: skip

_DTYPES: Final = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


def load_model_config(model_dir: Path, *, dtype: str = "auto") -> ModelConfig:
    """The model that config.json in the checkpoint folder `model_dir` describes.

    dtype: "f32", "f16" or "bf16" overrides the checkpoint; "auto" is the dtype in config.json or,
    if it has none, the dtype of the stored tensors.

    Raises ModelError if the folder or the file is missing, the architecture is not supported or a
    value cannot be used. Keys that are unknown to Hugging Face too are named in the log.
    """
    if not model_dir.is_dir():
        msg = (
            f"{model_dir}: no such folder; a checkpoint is a local folder with {FILE_NAME}, "
            "a tokenizer and safetensors files, as `hf download MODEL --local-dir DIR` writes it"
        )
        raise ModelError(msg)
    path = model_dir / FILE_NAME
    if not path.exists():
        msg = (
            f"{model_dir} is no checkpoint: it has no {FILE_NAME}; a checkpoint is a folder with "
            f"{FILE_NAME}, a tokenizer and safetensors files, as `hf download MODEL --local-dir "
            "DIR` writes it"
        )
        raise ModelError(msg)
    if (model_dir / _ADAPTER_FILE_NAME).exists():
        _logger.warning(
            "%s: not read: adapters are not supported; merge it into the weights",
            model_dir / _ADAPTER_FILE_NAME,
        )
    stated = JsonObject.read(path)
    architecture = _architecture(stated)
    if dtype == "auto":
        dtype = _stated_dtype(stated) or stored_dtype(model_dir)
    decoder = architecture.parse_config(stated)
    bos_token_ids = _token_ids(stated, "bos_token_id", decoder.vocab_size)
    if len(bos_token_ids) > 1:
        raise stated.error("bos_token_id", "at most one token id is supported")
    stated.log_unread(architecture.known_keys | READ_KEYS)
    return ModelConfig(
        architecture=architecture,
        decoder=decoder,
        dtype=dtype,
        eos_token_ids=_token_ids(stated, "eos_token_id", decoder.vocab_size),
        bos_token_id=bos_token_ids[0] if bos_token_ids else None,
    )


def _architecture(stated: JsonObject) -> Architecture:
    if "architectures" in stated:
        names = stated.value("architectures")
        if isinstance(names, list) and len(names) == 1 and names[0] in list(ARCHITECTURES):
            return ARCHITECTURES[names[0]]
    elif "model_type" in stated:
        for architecture in ARCHITECTURES.values():
            if stated.value("model_type") == architecture.model_type:
                return architecture
    raise stated.error("architectures", f"must be one of {', '.join(ARCHITECTURES)}")


def _token_ids(stated: JsonObject, key: str, vocab_size: int) -> tuple[int, ...]:
    ids = stated.token_ids(key)
    if any(token >= vocab_size for token in ids):
        raise stated.error(key, f"not a token of a vocabulary of {vocab_size}")
    return ids


def _stated_dtype(stated: JsonObject) -> str | None:
    keys = [key for key in ("dtype", "torch_dtype") if key in stated]
    names = [stated.string(key) for key in keys]
    if not names:
        return None
    if names[0] not in _DTYPES:
        raise stated.error(
            keys[0], f"must be one of {', '.join(_DTYPES)}; choose one with dtype='bf16', say"
        )
    if names[0] != names[-1]:
        raise stated.error(keys[0], f"contradicts {keys[-1]} = {names[-1]!r}")
    return _DTYPES[names[0]]
