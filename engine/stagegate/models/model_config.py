"""What config.json says of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stagegate.models.architecture import Architecture
    from stagegate.models.decoder_config import DecoderConfig


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A decoder, and what its checkpoint says around it.

    dtype: "f32", "f16" or "bf16": what the model is computed in. Stored tensors may differ.
    eos_token_ids: as config.json states them; other files of the checkpoint may name more.
    """

    architecture: Architecture
    decoder: DecoderConfig
    dtype: str
    eos_token_ids: tuple[int, ...] = ()
    bos_token_id: int | None = None
