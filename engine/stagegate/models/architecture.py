"""Description of an architecture: how to read its config.json, and its names of weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stagegate.models.decoder_config import DecoderConfig
    from stagegate.models.json_object import JsonObject

# Role of a weight in the core, such as "layers.3.qkv" or "layers.3.qkv.bias" -> the checkpoint's
# tensors whose concatenation it is.
WeightNames = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Architecture:
    """One architecture, described by one file of this folder.

    name, model_type: the values of `architectures` and `model_type` in config.json.
    known_keys: keys of config.json; any other is named in the log.
    parse_config: returns the decoder of a config.json. Raises ModelError naming key and value.
    weight_names: returns names for every role of the decoder in the core (`_C.weight_specs`), and
    for "head" even if the embedding is the head. Names for further roles are ignored.
    """

    name: str
    model_type: str
    known_keys: frozenset[str]
    parse_config: Callable[[JsonObject], DecoderConfig]
    weight_names: Callable[[DecoderConfig], WeightNames]
