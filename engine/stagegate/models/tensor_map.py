"""The tensors in a checkpoint of a model, and the part of the core's weights that each one is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from stagegate.native import _C

if TYPE_CHECKING:
    from stagegate.models.decoder_config import DecoderConfig
    from stagegate.models.model_config import ModelConfig


@dataclass(frozen=True, slots=True)
class WeightPart:
    """The place of one checkpoint tensor in the core: part `index` of the weight of a role."""

    role: str
    index: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorMap:
    """The tensors in a checkpoint of a model.

    parts: every tensor by its name in the checkpoint, in model order.
    embedding, head: names of these two. A head that is not in `parts` is tied: a checkpoint may
    repeat the embedding under its name.
    """

    parts: dict[str, WeightPart]
    embedding: str
    head: str

    @classmethod
    def of(cls, model: ModelConfig) -> TensorMap:
        """Raises ValueError if the architecture names other parts than the core has."""
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
        """Shape of each tensor, by name. Linear weights are [out, in]."""
        return {name: part.shape for name, part in self.parts.items()}


def core_config(config: DecoderConfig) -> _C.DecoderConfig:
    """Raises ArgumentError naming a field that is out of range."""
    fields = asdict(config)
    if fields["rope_scaling"] is not None:
        fields["rope_scaling"] = _C.RopeScaling(**fields["rope_scaling"])
    return _C.DecoderConfig(**fields)
