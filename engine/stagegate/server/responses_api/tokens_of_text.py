"""Which tokens a piece of a text came from."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stagegate.outputs import TokenLogprobs
    from stagegate.text.tokenizer import Tokenizer


class ReadToken(NamedTuple):
    """num_bytes: of its text. logprobs: None where the request does not include them."""

    num_bytes: int
    logprobs: TokenLogprobs | None


class TokensOfText:
    """Gives the tokens of a text out again as it is read, in pieces that need not end with tokens.

    A token belongs to the piece with its first byte. Special tokens that the text leaves out, and
    bytes that it shows replaced, count with their own bytes: behind them a token may come a piece
    early or late.
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
        """Those that no piece has had; the text has ended."""
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
