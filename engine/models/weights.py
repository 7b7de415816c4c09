"""The weights of a model on their way from the tensors of a checkpoint into the core."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from engine import _C
from engine.models.checkpoint import Checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from engine.models.decoder_config import DecoderConfig
    from engine.models.model_config import ModelConfig


@dataclass(frozen=True, slots=True)
class WeightPart:
    """What one tensor of a checkpoint is in the core: part `index` of the weight of a role."""

    role: str
    index: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorMap:
    """The tensors that a checkpoint of a model holds.

    parts: every tensor by its name in the checkpoint, in model order.
    embedding, head: names of these two. A head that is not among the parts is tied: a checkpoint
    may repeat the embedding under its name.
    """

    parts: dict[str, WeightPart]
    embedding: str
    head: str

    @classmethod
    def of(cls, model: ModelConfig) -> TensorMap:
        """Raises ValueError where the architecture names other parts than the core has."""
        names = model.architecture.weight_names(model.decoder)
        parts = {}
        for spec in _C.weight_specs(core_config(model.decoder)):
            stored = names.get(spec.role, ())
            if len(stored) != len(spec.parts):
                msg = (
                    f"{model.architecture.name}: weight {spec.role!r} has {len(spec.parts)} parts, "
                    f"but weight_names gives {list(stored)}"
                )
                raise ValueError(msg)
            for index, (name, shape) in enumerate(zip(stored, spec.parts, strict=True)):
                parts[name] = WeightPart(spec.role, index, tuple(shape))
        return cls(parts, embedding=names["embedding"][0], head=names["head"][0])

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of each tensor, by name. Linear weights are [out, in]."""
        return {name: part.shape for name, part in self.parts.items()}


def core_config(config: DecoderConfig) -> _C.DecoderConfig:
    """Raises ArgumentError naming a field that is out of range."""
    fields = asdict(config)
    if fields["rope_scaling"] is not None:
        fields["rope_scaling"] = _C.RopeScaling(**fields["rope_scaling"])
    return _C.DecoderConfig(**fields)


def load_weights(
    path: Path, model: ModelConfig, dtype: str, context: _C.Context
) -> _C.DecoderWeights:
    """Read the checkpoint in the folder `path` into the merged weights of the core.

    Raises ModelError when the files are damaged or do not hold exactly the model's tensors.
    """
    tensors = TensorMap.of(model)
    # Opened first: a checkpoint that does not fit its configuration is refused before any memory is
    # taken for it.
    with Checkpoint.open(path, tensors) as checkpoint:
        weights = _C.DecoderWeights(core_config(model.decoder), dtype, context)
        for stored in checkpoint:
            part = tensors.parts[stored.name]
            tensor = _C.Tensor.from_buffer(
                stored.buffer, stored.dtype, list(stored.shape), stored.offset_bytes
            )
            weights.load(part.role, part.index, tensor)
    return weights
