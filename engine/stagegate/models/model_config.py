"""The configuration of a model, as read from config.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stagegate.models.architecture import Architecture
    from stagegate.models.decoder_config import DecoderConfig


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A decoder, and the other settings of its checkpoint.

    dtype: "f32", "f16" or "bf16", of the computation. Stored tensors may differ.
    eos_token_ids: from config.json; other files of the checkpoint may name more.
    """

    architecture: Architecture
    decoder: DecoderConfig
    dtype: str
    eos_token_ids: tuple[int, ...] = ()
    bos_token_id: int | None = None
