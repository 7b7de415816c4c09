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
        # hides(token_id): whether a token is omitted from the text.
        self.hides = tokenizer.is_special if skip_special_tokens else _hides_nothing
        self._decoder = _Utf8Decoder(errors="replace")

    def push(self, token_ids: Iterable[int]) -> str:
        """Add tokens; returns the text that they complete, which may be empty."""
        token_bytes, hides = self._tokenizer.token_bytes, self.hides
        added = b"".join([token_bytes(token_id) for token_id in token_ids if not hides(token_id)])
        if added.isascii() and not self._decoder.buffer:  # most text, at a third of the time
            return added.decode("ascii")
        return self._decoder.decode(added)

    def text_of(self, token_id: int) -> str:
        """The text of an omitted token on its own."""
        return self._tokenizer.token_bytes(token_id).decode(errors="replace")

    def flush(self) -> str:
        """End the text; an unfinished character becomes U+FFFD."""
        return self._decoder.decode(b"", final=True)


def _hides_nothing(_: int) -> bool:
    return False
