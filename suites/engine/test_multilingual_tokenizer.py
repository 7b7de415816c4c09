"""Tokens outside ASCII to text and back, against the library that defines the format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate.text.tokenizer import Tokenizer
from suites.models.multilingual import (
    ADDED_TOKENS,
    SPECIAL_TOKENS,
    TEXTS,
    WORDS,
    multilingual_tokenizer,
)

LIBRARY = multilingual_tokenizer()
TOKENIZER = Tokenizer(multilingual_tokenizer())

letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
written = st.lists(
    st.sampled_from([*WORDS, *TEXTS, *SPECIAL_TOKENS, *ADDED_TOKENS]) | letters, max_size=8
).map("".join)


@given(text=written)
def test_encode_is_the_library_s(text: str) -> None:
    assert TOKENIZER.encode(text) == LIBRARY.encode(text).ids


@given(
    token_ids=st.lists(st.integers(0, LIBRARY.get_vocab_size() - 1), max_size=40),
    skip=st.booleans(),
)
def test_decode_is_the_library_s(token_ids: list[int], skip: bool) -> None:
    ours = TOKENIZER.decode(token_ids, skip_special_tokens=skip)
    assert ours == LIBRARY.decode(token_ids, skip_special_tokens=skip)


@pytest.mark.parametrize("token", [*SPECIAL_TOKENS, *ADDED_TOKENS])
def test_added_tokens_are_their_own_text(token: str) -> None:
    [token_id] = TOKENIZER.encode(token)
    assert TOKENIZER.token_bytes(token_id) == token.encode()
    assert TOKENIZER.is_special(token_id) == (token in SPECIAL_TOKENS)
