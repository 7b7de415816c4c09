"""Attribution of tokens to pieces of text."""

from __future__ import annotations

from typing import cast

import pytest

from stagegate.server.responses_api.tokens_of_text import TokensOfText, last_tokens
from stagegate.text.tokenizer import Tokenizer

pytestmark = pytest.mark.criterion("s0.online")


class Vocabulary:
    """Token ids are indices of this list."""

    def __init__(self, *tokens: str | bytes) -> None:
        self._tokens = [token if isinstance(token, bytes) else token.encode() for token in tokens]

    def token_bytes(self, token_id: int) -> bytes:
        return self._tokens[token_id]


def tokens_of(*tokens: str | bytes) -> TokensOfText:
    text = TokensOfText(cast("Tokenizer", Vocabulary(*tokens)))
    text.add(range(len(tokens)), None)
    return text


@pytest.mark.parametrize(
    ("tokens", "pieces", "counts"),
    [
        (["a", "b", "c"], ["abc"], [3]),
        (["a", "b", "c"], ["a", "bc", ""], [1, 2, 0]),
        (["a</", "think", ">\n", "b"], ["a", "</think>", "\n", "b"], [1, 2, 0, 1]),
        (["ab", "cd"], ["a", "b", "c", "d"], [1, 0, 1, 0]),
        (["说", "你好"], ["说你", "好"], [2, 0]),
        (["\U0001f431".encode()[:2], "\U0001f431".encode()[2:], "x"], ["", "\U0001f431x"], [0, 3]),
        ([b"\xff", "a", "b"], ["\N{REPLACEMENT CHARACTER}", "a", "b"], [3, 0, 0]),
    ],
)
def test_a_token_belongs_to_the_piece_with_its_first_byte(
    tokens: list[str | bytes], pieces: list[str], counts: list[int]
) -> None:
    text = tokens_of(*tokens)
    assert [len(text.take(piece)) for piece in pieces] == counts
    assert text.rest() == []


def test_tokens_without_text_are_the_rest() -> None:
    text = tokens_of("a", "<|im_end|>")
    assert len(text.take("a")) == 1
    assert [token.num_bytes for token in text.rest()] == [len("<|im_end|>")]
    assert text.rest() == []


@pytest.mark.parametrize(
    ("tokens", "text", "count"),
    [(["</", ">", "a", "b"], "ab", 2), (["\n\na"], "a", 1), (["a"], "", 0), (["a"], "xyz", 1)],
)
def test_the_tokens_of_a_text_at_their_end(
    tokens: list[str | bytes], text: str, count: int
) -> None:
    read = tokens_of(*tokens).take("".join(cast("list[str]", tokens)))
    assert last_tokens(read, text) == read[len(read) - count :]
