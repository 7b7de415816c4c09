"""What an architecture is: how its config.json is read, and how its checkpoints name weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stagegate.models.decoder_config import DecoderConfig
    from stagegate.models.json_object import JsonObject

# The role of a weight in the core, such as "layers.3.qkv" or "layers.3.qkv.bias", to the tensors of
# a checkpoint that it is the concatenation of.
WeightNames = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Architecture:
    """One architecture, as one file of this folder describes it.

    name: as `architectures` of config.json states it. model_type: as `model_type` does.
    known_keys: of config.json; any other is named in the log.
    parse_config: the decoder that config.json describes. Raises ModelError naming key and value.
    weight_names: names for every role that the decoder has in the core (`_C.weight_specs`), and
    for "head" even where the embedding is the head. Names for further roles do no harm.
    """

    name: str
    model_type: str
    known_keys: frozenset[str]
    parse_config: Callable[[JsonObject], DecoderConfig]
    weight_names: Callable[[DecoderConfig], WeightNames]
