"""Attribution of tokens to pieces of text."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stagegate.outputs import TokenLogprobs
    from stagegate.text.tokenizer import Tokenizer


class ReadToken(NamedTuple):
    """num_bytes: of its text. logprobs: None if the request does not include them."""

    num_bytes: int
    logprobs: TokenLogprobs | None


class TokensOfText:
    """Returns the tokens of each piece of a text; pieces need not end at token boundaries.

    A token belongs to the piece with its first byte. Special tokens that the text omits, and bytes
    that it replaces, count with their own bytes, so later tokens may be a piece early or late.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._waiting: deque[ReadToken] = deque()
        self._ahead = 0  # bytes of the tokens given out that no piece has had yet

    def add(self, token_ids: Iterable[int], logprobs: Iterable[TokenLogprobs] | None) -> None:
        entries = iter(logprobs or ())
        for token_id in token_ids:
            num_bytes = len(self._tokenizer.token_bytes(token_id))
            self._waiting.append(ReadToken(num_bytes, next(entries, None)))

    def take(self, text: str) -> list[ReadToken]:
        taken = []
        self._ahead -= num_bytes(text)
        while self._ahead < 0 and self._waiting:
            token = self._waiting.popleft()
            self._ahead += token.num_bytes
            taken.append(token)
        return taken

    def rest(self) -> list[ReadToken]:
        """The remaining tokens, once the text has ended."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken


def last_tokens(tokens: list[ReadToken], text: str) -> list[ReadToken]:
    """Those of the tokens that a text at their end came from."""
    missing, first = num_bytes(text), len(tokens)
    while missing > 0 and first > 0:
        first -= 1
        missing -= tokens[first].num_bytes
    return tokens[first:]


def num_bytes(text: str) -> int:
    return len(text.encode(errors="replace"))
