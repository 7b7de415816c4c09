"""Pieces of text join to the whole, and no piece has a broken or repeated character."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate.text.detokenizer import Detokenizer
from stagegate.text.tokenizer import Tokenizer
from suites.engine.conftest import TINY
from suites.models.multilingual import END_OF_SENTENCE, TEXTS, WORDS

# Surrogates have no UTF-8 form and cannot be encoded at all.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
# Past both vocabularies, and with every token of the smaller one.
token_lists = st.lists(st.integers(0, 2100) | st.integers(0, 600), max_size=40)


@pytest.fixture(scope="module", params=["tiny-qwen2", "multilingual"])
def tokenizer(request: pytest.FixtureRequest, multilingual_model: Path) -> Tokenizer:
    return Tokenizer.load(TINY if request.param == "tiny-qwen2" else multilingual_model)


def pieces(tokenizer: Tokenizer, token_ids: list[int], *, skip: bool = True) -> list[str]:
    detokenizer = Detokenizer(tokenizer, skip_special_tokens=skip)
    return [*(detokenizer.push([token_id]) for token_id in token_ids), detokenizer.flush()]


@given(text=texts)
def test_text_comes_back_without_a_broken_character(tokenizer: Tokenizer, text: str) -> None:
    token_ids = tokenizer.encode(text)
    parts = pieces(tokenizer, token_ids)
    assert "".join(parts) == tokenizer.decode(token_ids)
    if "\ufffd" not in text:
        assert not any("\ufffd" in part for part in parts)


@given(token_ids=token_lists, skip=st.booleans())
def test_any_tokens_give_what_decoding_them_at_once_gives(
    tokenizer: Tokenizer, token_ids: list[int], skip: bool
) -> None:
    whole = tokenizer.decode(token_ids, skip_special_tokens=skip)
    assert "".join(pieces(tokenizer, token_ids, skip=skip)) == whole


@given(parts=st.lists(token_lists, max_size=4), skip=st.booleans())
def test_tokens_in_a_row_give_what_each_gives(
    tokenizer: Tokenizer, parts: list[list[int]], skip: bool
) -> None:
    in_a_row = Detokenizer(tokenizer, skip_special_tokens=skip)
    each = Detokenizer(tokenizer, skip_special_tokens=skip)
    for part in parts:
        assert in_a_row.push(part) == "".join(each.push([token_id]) for token_id in part)
    assert in_a_row.flush() == each.flush()


@given(token_ids=token_lists)
def test_text_only_grows(tokenizer: Tokenizer, token_ids: list[int]) -> None:
    detokenizer = Detokenizer(tokenizer)
    seen = ""
    whole = tokenizer.decode(token_ids)
    for token_id in token_ids:
        seen += detokenizer.push([token_id])
        assert whole.startswith(seen)


@pytest.mark.parametrize("text", [*WORDS, *TEXTS, "é", "👩‍👩‍👧‍👦", "𐍈", "q\u0307"], ids=ascii)
def test_a_character_of_several_tokens_comes_out_whole(tokenizer: Tokenizer, text: str) -> None:
    token_ids = tokenizer.encode(text)
    parts = [part for part in pieces(tokenizer, token_ids) if part]
    assert "".join(parts) == unicodedata.normalize("NFC", text)
    assert all("\ufffd" not in part or part == text for part in parts)


def test_an_unfinished_character_is_replaced_at_the_end(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode("a😶")  # not a token of either vocabulary
    parts = pieces(tokenizer, token_ids[:-1])
    assert parts[-1] == "\ufffd"
    assert "".join(parts) == "a\ufffd"


def test_special_tokens_are_skipped_or_shown(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode("<|im_start|>user<|im_end|>")
    assert "".join(pieces(tokenizer, token_ids)) == "user"
    assert "".join(pieces(tokenizer, token_ids, skip=False)) == "<|im_start|>user<|im_end|>"


def test_a_special_token_outside_ascii_is_skipped_or_shown(multilingual_model: Path) -> None:
    tokenizer = Tokenizer.load(multilingual_model)
    token_ids = tokenizer.encode(f"你好{END_OF_SENTENCE}。")
    assert len(token_ids) == 3
    assert pieces(tokenizer, token_ids) == ["你好", "", "。", ""]
    assert pieces(tokenizer, token_ids, skip=False) == ["你好", END_OF_SENTENCE, "。", ""]


def test_a_character_goes_on_behind_a_skipped_token(multilingual_model: Path) -> None:
    tokenizer = Tokenizer.load(multilingual_model)
    [special] = tokenizer.encode("<|im_start|>")
    parts = tokenizer.encode("😶")  # which has no token of its own
    assert len(parts) > 1
    assert pieces(tokenizer, [parts[0], special, *parts[1:]])[-2:] == ["😶", ""]


def test_padding_of_the_vocabulary_is_no_text(tokenizer: Tokenizer) -> None:
    padding = tokenizer.vocab_size
    assert pieces(tokenizer, [padding, padding + 5]) == ["", "", ""]
