"""Loading of a checkpoint's tensors into the weights of the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagegate.models.checkpoint import Checkpoint
from stagegate.models.tensor_map import TensorMap, core_config
from stagegate.native import _C

if TYPE_CHECKING:
    from pathlib import Path

    from stagegate.models.model_config import ModelConfig


def load_weights(
    path: Path, model: ModelConfig, dtype: str, context: _C.Context
) -> _C.DecoderWeights:
    """Read the checkpoint in the folder `path` into the merged weights of the core.

    Raises ModelError if the files are damaged or do not contain exactly the model's tensors.
    """
    tensors = TensorMap.of(model)
    # Opened first, so that a checkpoint that does not match its configuration is refused before any
    # memory is allocated for it.
    with Checkpoint.open(path, tensors) as checkpoint:
        weights = _C.DecoderWeights(core_config(model.decoder), dtype, context)
        for stored in checkpoint:
            part = tensors.parts[stored.name]
            tensor = _C.Tensor.from_buffer(
                stored.buffer, stored.dtype, list(stored.shape), stored.offset_bytes
            )
            weights.load(part.role, part.index, tensor)
    return weights
