"""The added tokens of a tokenizer, merged from all files of a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagegate.errors import TokenizerError
from stagegate.text.tokenizer_config import ADDED_TOKENS_FILE_NAME, FILE_NAME, added_token

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import tokenizers

    from stagegate.text.tokenizer_config import TokenizerConfig


def merge_added_tokens(
    path: Path, stated: list[dict[str, Any]], vocabulary: Mapping[str, int], config: TokenizerConfig
) -> list[dict[str, Any]]:
    """The added tokens of tokenizer.json and the other files, sorted by id.

    path: tokenizer.json; stated: its added_tokens; vocabulary: of its model. If
    added_tokens_decoder has a token, its flags are used. As in Hugging Face, a token that is
    special by name or in a list is special without any other flag, and is added after the others if
    no file gives it an id.

    Raises TokenizerError naming the token if two files contradict each other, or if the end token
    has no id.
    """
    merged = {entry["id"]: entry for entry in stated}
    ids = {entry["content"]: entry["id"] for entry in stated}
    file = FILE_NAME if config.has_decoder else ADDED_TOKENS_FILE_NAME
    for token_id, entry in config.added_tokens.items():
        content = entry["content"]
        here = merged.get(token_id, entry)["content"]
        if here != content or ids.get(content, token_id) != token_id:
            has = f"that is {here!r}" if here != content else f"its id is {ids[content]}"
            msg = (
                f"{path.parent / file}: token {token_id} is {content!r}, but in {path.name} "
                f"{has}; the two files are of different models"
            )
            raise TokenizerError(msg)
        if config.has_decoder or token_id not in merged:
            merged[token_id] = entry
        ids[content] = token_id
    for name, content in _special_tokens(config):
        known = ids.get(content, vocabulary.get(content))
        if known is None:
            if name is not None and name not in config.stated_names:
                continue  # a default of Hugging Face that this vocabulary does not have
            if name == "eos_token":
                msg = (
                    f"{config.stated.path}: eos_token = {content!r}: neither {path.name} nor "
                    f"added_tokens_decoder has it; add it there with its id"
                )
                raise TokenizerError(msg)
            known = max(len(vocabulary), max(merged, default=-1) + 1)
        merged[known] = added_token(known, content, special=True)
        ids[content] = known
    return [merged[token_id] for token_id in sorted(merged)]


def check_ids(path: Path, added: list[dict[str, Any]], backend: tokenizers.Tokenizer) -> None:
    """Check that the library, which numbers added tokens by itself, gives the stated ids.

    Raises TokenizerError naming the first token that has another id.
    """
    for entry in added:
        found = backend.token_to_id(entry["content"])
        if found != entry["id"]:
            msg = (
                f"{path}: added token {entry['content']!r} has the id {entry['id']} in the files, "
                f"but is token {found} of the vocabulary: added ids have to follow the "
                f"vocabulary's without a gap; mend added_tokens or added_tokens_decoder"
            )
            raise TokenizerError(msg)


def _special_tokens(config: TokenizerConfig) -> list[tuple[str | None, str]]:
    """Name, or None, and text of every special token; in Hugging Face's order."""
    return [
        *config.named_tokens.items(),
        *((None, content) for content in config.extra_special_tokens),
    ]
