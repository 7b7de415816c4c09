"""Streaming conversion of tokens to text, without broken or repeated characters."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stagegate.text.tokenizer import Tokenizer

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class Detokenizer:
    """Text of one sequence.

    A byte-level token is a run of bytes that may end inside a character, so a character is released
    when its last byte has arrived. The joined pieces equal `Tokenizer.decode` of all tokens.
    """

    def __init__(self, tokenizer: Tokenizer, *, skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._decoder = _Utf8Decoder(errors="replace")

    def push(self, token_id: int) -> str:
        """Add the next token; returns the text it completes, which may be empty."""
        if self.hides(token_id):
            return ""
        return self._decoder.decode(self._tokenizer.token_bytes(token_id))

    def push_all(self, token_ids: Iterable[int]) -> str:
        """The same for tokens in a row."""
        token_bytes = self._tokenizer.token_bytes
        shown = [token_bytes(token_id) for token_id in token_ids if not self.hides(token_id)]
        return self._decoder.decode(b"".join(shown))

    def hides(self, token_id: int) -> bool:
        """Whether a token is omitted from the text."""
        return self._skip_special_tokens and self._tokenizer.is_special(token_id)

    def text_of(self, token_id: int) -> str:
        """The text of an omitted token on its own."""
        return self._tokenizer.token_bytes(token_id).decode(errors="replace")

    def flush(self) -> str:
        """End the text; an unfinished character becomes U+FFFD."""
        return self._decoder.decode(b"", final=True)
