"""Which architecture a checkpoint folder holds."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from engine.errors import ModelError
from engine.models.checkpoint import stored_dtype
from engine.models.json_object import JsonObject
from engine.models.qwen2 import Qwen2Config

_logger = logging.getLogger(__name__)

FILE_NAME = "config.json"
_ADAPTER_FILE_NAME: Final = "adapter_config.json"

# The name in `architectures` of config.json, and what reads the rest of that file.
ARCHITECTURES = {"Qwen2ForCausalLM": Qwen2Config.from_json}
# The architecture of a config.json that states only its model_type.
_ARCHITECTURE_OF: Final = {"qwen2": "Qwen2ForCausalLM"}

_DTYPES: Final = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


def load_model_config(model_dir: Path, *, dtype: str = "auto") -> Qwen2Config:
    """The model that config.json in the checkpoint folder `model_dir` describes.

    dtype: "f32", "f16" or "bf16" to compute in, whatever the checkpoint says; "auto" is what
    config.json states or, where it does not, the dtype of the stored tensors.

    Raises ModelError when the folder or the file is missing, the architecture is not supported or
    a value cannot be used.
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
    from_json = ARCHITECTURES[_architecture(stated)]
    if dtype == "auto":
        dtype = _stated_dtype(stated) or stored_dtype(model_dir)
    return from_json(stated, dtype)


def _architecture(stated: JsonObject) -> str:
    if "architectures" in stated:
        names = stated.value("architectures")
        if isinstance(names, list) and len(names) == 1 and names[0] in list(ARCHITECTURES):
            return str(names[0])
    elif "model_type" in stated and stated.value("model_type") in list(_ARCHITECTURE_OF):
        return _ARCHITECTURE_OF[stated.string("model_type")]
    raise stated.error("architectures", f"must be one of {', '.join(ARCHITECTURES)}")


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
