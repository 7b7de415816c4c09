"""The multilingual checkpoint has the tokens that tests of text take it for."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer

import stagegate.text.tokenizer
from suites.models.multilingual import (
    ADDED_TOKENS,
    SPECIAL_TOKENS,
    TEXTS,
    WORDS,
    multilingual_tokenizer,
    write_multilingual_qwen2,
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return multilingual_tokenizer()


@pytest.mark.parametrize("word", WORDS, ids=ascii)
def test_every_word_is_one_token(tokenizer: Tokenizer, word: str) -> None:
    content = stagegate.text.tokenizer.Tokenizer(tokenizer).token_bytes
    [token_id] = [i for i in range(tokenizer.get_vocab_size()) if content(i) == word.encode()]
    ends_in_mark = len(word) > 1 and unicodedata.category(word[-1]) == "Mn"
    if not (ends_in_mark and word[0].isalpha()):  # else the split expression cuts it
        assert tokenizer.encode(word).ids == [token_id]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_texts_come_back(tokenizer: Tokenizer, text: str) -> None:
    token_ids = tokenizer.encode(text).ids
    assert len(token_ids) < len(text.encode())
    assert tokenizer.decode(token_ids, skip_special_tokens=False) == text


def test_added_tokens_are_whole_and_the_special_ones_can_be_skipped(tokenizer: Tokenizer) -> None:
    for token in SPECIAL_TOKENS + ADDED_TOKENS:
        token_ids = tokenizer.encode(f"x{token}x").ids
        assert token_ids[1:-1] == [tokenizer.token_to_id(token)]
        assert tokenizer.decode(token_ids) == ("xx" if token in SPECIAL_TOKENS else f"x{token}x")


def test_some_tokens_are_part_of_a_character(tokenizer: Tokenizer) -> None:
    texts = [tokenizer.decode([token_id]) for token_id in range(tokenizer.get_vocab_size())]
    assert sum("\ufffd" in text for text in texts) > 128 + 40  # the bytes, and longer ones


def test_it_is_the_same_each_time(multilingual_model: Path, tmp_path: Path) -> None:
    again = write_multilingual_qwen2(tmp_path / "again")
    names = sorted(path.name for path in again.iterdir())
    assert names == sorted(path.name for path in multilingual_model.iterdir())
    for name in names:
        assert (again / name).read_bytes() == (multilingual_model / name).read_bytes()
