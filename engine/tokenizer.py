"""Text to token ids and back, through the checkpoint's tokenizer.json."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from engine.errors import InvalidRequestError, TokenizerError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import tokenizers

FILE_NAME = "tokenizer.json"
_MAX_TOKEN_ID: Final = 2**31 - 1


class Tokenizer:
    """A byte-level BPE tokenizer, which every Qwen2 checkpoint has."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        # Checkpoints may carry the settings of their training; a prompt is never cut or filled up.
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        added = backend.get_added_tokens_decoder()
        self._special = frozenset(token_id for token_id, token in added.items() if token.special)
        # Before the alphabet: most Latin-1 letters are in it, and stand for single bytes there.
        self._bytes = {token_id: token.content.encode() for token_id, token in added.items()}
        self.vocab_size = backend.get_vocab_size(with_added_tokens=True)

    @classmethod
    def load(cls, model: Path) -> Tokenizer:
        """The tokenizer of the checkpoint folder `model`. Raises TokenizerError."""
        import tokenizers

        path = model / FILE_NAME
        if not path.is_file():
            msg = f"{path}: no such file; copy the {FILE_NAME} of the model into the folder"
            raise TokenizerError(msg)
        try:
            backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            msg = (
                f"{path}: not a tokenizer the tokenizers library reads: {error}; "
                f"copy the {FILE_NAME} of the model again"
            )
            raise TokenizerError(msg) from error
        if not isinstance(backend.decoder, tokenizers.decoders.ByteLevel):
            msg = (
                f"{path}: decoder {type(backend.decoder).__name__} is not supported; "
                "Qwen2 tokenizers are byte-level"
            )
            raise TokenizerError(msg)
        return cls(backend)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text. Raises InvalidRequestError for text that has no UTF-8 form.

        add_special_tokens: add those the checkpoint puts around a prompt; text of a chat template
        has its own. Special tokens written out in the text are recognised either way.
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
        """Bytes a token stands for; an added token stands for its own text.

        Empty for an id past the tokenizer's vocabulary: models often pad theirs. Raises
        InvalidRequestError for what is no token id at all.
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
