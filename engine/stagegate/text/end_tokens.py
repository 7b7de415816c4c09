"""The tokens that end a text, from all files of a checkpoint that name one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from stagegate.errors import ModelError

if TYPE_CHECKING:
    from stagegate.models.generation_config import GenerationConfig
    from stagegate.models.model_config import ModelConfig
    from stagegate.text.tokenizer import Tokenizer

_logger = logging.getLogger(__name__)


def end_tokens(
    model: ModelConfig, generation: GenerationConfig, tokenizer: Tokenizer
) -> tuple[int, ...]:
    """End tokens of config.json, generation_config.json and the tokenizer, each once.

    Empty if no file names one: texts then end by their length or a stop string. Raises ModelError
    for a token that the model does not have.
    """
    ids_by_file = {
        "config.json: eos_token_id": model.eos_token_ids,
        "generation_config.json: eos_token_id": generation.eos_token_ids,
        "tokenizer_config.json: eos_token": (
            () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
        ),
    }
    vocab_size = model.decoder.vocab_size
    for place, token_ids in ids_by_file.items():
        for token_id in token_ids:
            if token_id >= vocab_size:
                msg = (
                    f"{place}: token {token_id} is not one of the {vocab_size} tokens of the "
                    "model; the files are of different models"
                )
                raise ModelError(msg)
    ids = tuple(dict.fromkeys(i for token_ids in ids_by_file.values() for i in token_ids))
    if not ids:
        _logger.warning(
            "no file of the checkpoint names an end token: texts end by max_tokens or a stop string"
        )
    return ids
