"""Which architecture a checkpoint folder holds."""

from __future__ import annotations

from pathlib import Path

from engine.errors import ModelError
from engine.models.json_object import JsonObject
from engine.models.qwen2 import Qwen2Config

FILE_NAME = "config.json"

# The name in `architectures` of config.json, and what reads the rest of that file.
ARCHITECTURES = {"Qwen2ForCausalLM": Qwen2Config.from_json}


def load_model_config(model_dir: Path) -> Qwen2Config:
    """The model that config.json in the checkpoint folder `model_dir` describes.

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
        msg = f"{path}: no such file; it belongs to every Hugging Face checkpoint, copy it there"
        raise ModelError(msg)
    stated = JsonObject.read(path)
    architectures = stated.value("architectures")
    if isinstance(architectures, list) and len(architectures) == 1:
        for name, from_json in ARCHITECTURES.items():
            if architectures[0] == name:
                return from_json(stated)
    raise stated.error("architectures", f"must be one of {', '.join(ARCHITECTURES)}")
