"""Text to token ids and back, through the checkpoint's tokenizer.json."""

from __future__ import annotations

import json
import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from stagegate.errors import InvalidRequestError, ModelError, TokenizerError
from stagegate.models.json_object import parse_object
from stagegate.text.added_tokens import check_ids, merge_added_tokens
from stagegate.text.tokenizer_config import TokenizerConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import tokenizers

_logger = logging.getLogger(__name__)

FILE_NAME = "tokenizer.json"
_MAX_TOKEN_ID: Final = 2**31 - 1


class Tokenizer:
    """A byte-level BPE tokenizer, the kind that every supported checkpoint has."""

    def __init__(self, backend: tokenizers.Tokenizer, *, eos_token_id: int | None = None) -> None:
        """eos_token_id: the token that ends a text, if the tokenizer's files name one."""
        # Checkpoints may contain settings of their training; prompts are never truncated or padded.
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        added = backend.get_added_tokens_decoder()
        self._special = frozenset(token_id for token_id, token in added.items() if token.special)
        # Checked before the alphabet, in which most Latin-1 letters stand for single bytes.
        self._bytes = {token_id: token.content.encode() for token_id, token in added.items()}
        self.vocab_size = backend.get_vocab_size(with_added_tokens=True)
        self.eos_token_id = eos_token_id

    @classmethod
    def load(cls, model: Path) -> Tokenizer:
        """The tokenizer of the checkpoint folder `model`.

        tokenizer.json, with the tokens and settings that tokenizer_config.json and older files
        beside it add or change. Raises TokenizerError.
        """
        path = model / FILE_NAME
        if not path.is_file():
            msg = (
                f"{path}: no such file; copy the {FILE_NAME} of the model into the folder, or "
                "write it with `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)`"
            )
            raise TokenizerError(msg)
        config = TokenizerConfig.read(model)
        config.log_unread()
        text, stated = _read(path)
        backend = _backend(path, text)
        vocabulary = stated["model"].get("vocab")
        listed = stated.get("added_tokens") or []
        added = merge_added_tokens(
            path, listed, vocabulary if isinstance(vocabulary, dict) else {}, config
        )
        if added != listed:
            text = json.dumps({**stated, "added_tokens": added}, ensure_ascii=False)
            backend = _backend(path, text)
        check_ids(path, [*listed, *added], backend)
        try:
            _apply_settings(backend, config)
        except ModelError as error:
            raise TokenizerError(str(error)) from error
        eos_token = config.named_tokens.get("eos_token")
        return cls(
            backend, eos_token_id=None if eos_token is None else backend.token_to_id(eos_token)
        )

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text. Raises InvalidRequestError for text that is not valid UTF-8.

        add_special_tokens: add the checkpoint's special tokens around a prompt; the text of a chat
        template contains its own. Special tokens spelled in the text are always recognised.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            msg = (
                f"the prompt cannot be encoded as UTF-8: {error.reason} at position {error.start}; "
                "remove the lone surrogate"
            )
            raise InvalidRequestError(msg, parameter="prompt") from error
        ids: list[int] = self._backend.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Text of token ids; bytes that are not UTF-8 become U+FFFD."""
        kept = (i for i in token_ids if not (skip_special_tokens and self.is_special(i)))
        return b"".join(map(self.token_bytes, kept)).decode(errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """Bytes of a token; for an added token, the bytes of its text.

        Empty for an id beyond the tokenizer's vocabulary, which models often pad. Raises
        InvalidRequestError for a value that is not a token id.
        """
        known = self._bytes.get(token_id)
        if known is not None:
            return known
        if not 0 <= token_id <= _MAX_TOKEN_ID:
            msg = f"token ids are from 0 to {_MAX_TOKEN_ID}, got {token_id}"
            raise InvalidRequestError(msg, parameter="token_ids")
        token = self._backend.id_to_token(token_id)
        if token is None:
            return b""
        self._bytes[token_id] = _bytes_of(token)
        return self._bytes[token_id]

    def is_special(self, token_id: int) -> bool:
        return token_id in self._special


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of the file, and its JSON object."""
    try:
        text = path.read_text("utf-8-sig")
        return text, parse_object(text)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _backend(path: Path, text: str) -> tokenizers.Tokenizer:
    """The library's tokenizer for `text`, the content of `path`."""
    import tokenizers

    try:
        backend = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exception
        raise _unreadable(path, error) from error
    if not isinstance(backend.decoder, tokenizers.decoders.ByteLevel):
        msg = (
            f"{path}: decoder {type(backend.decoder).__name__} is not supported; "
            "only byte-level ones are"
        )
        raise TokenizerError(msg)
    return backend


def _unreadable(path: Path, error: Exception) -> TokenizerError:
    return TokenizerError(
        f"{path}: not a tokenizer the tokenizers library reads: {error}; "
        f"copy the {FILE_NAME} of the model again"
    )


def _apply_settings(backend: tokenizers.Tokenizer, config: TokenizerConfig) -> None:
    stated = config.stated
    backend.encode_special_tokens = stated.flag("split_special_tokens", default=False)
    if "add_prefix_space" in stated:
        _set_prefix_space(backend, stated.flag("add_prefix_space", default=False))
    adds_tokens = backend.num_special_tokens_to_add(is_pair=False) > 0
    for key in ("add_bos_token", "add_eos_token"):
        if stated.flag(key, default=False) and not adds_tokens:
            _logger.warning(
                "%s: %s is not done, as in Hugging Face: the post-processor of %s adds no token",
                *(stated.path, key, FILE_NAME),
            )


def _set_prefix_space(backend: tokenizers.Tokenizer, add: bool) -> None:
    """Set whether a space is put in front of a text; this overrides tokenizer.json."""
    import tokenizers

    splitter = backend.pre_tokenizer
    is_sequence = isinstance(splitter, tokenizers.pre_tokenizers.Sequence)
    for part in list(splitter) if is_sequence else [splitter]:  # views of those in use
        if isinstance(part, tokenizers.pre_tokenizers.ByteLevel):
            part.add_prefix_space = add


def _bytes_of(token: str) -> bytes:
    table = _bytes_of_letters()
    if all(letter in table for letter in token):
        return bytes(table[letter] for letter in token)
    return token.encode()  # a vocabulary entry outside the alphabet, as the library takes it


@lru_cache(maxsize=1)
def _bytes_of_letters() -> dict[str, int]:
    """The alphabet of byte-level BPE (Radford et al., 2019).

    Printable Latin-1 stands for itself, the other bytes for the code points from 256 on, in order.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    table |= {chr(256 + index): byte for index, byte in enumerate(others)}
    return table
