"""Text to tokens and back, against the library that defines the format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidRequestError, TokenizerError
from engine.tokenizer import Tokenizer
from suites.engine.conftest import TINY

LIBRARY = tokenizers.Tokenizer.from_file(str(TINY / "tokenizer.json"))


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_encode_is_the_library_s(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text) == LIBRARY.encode(text).ids


@given(token_ids=st.lists(st.integers(0, 2047), max_size=40), skip=st.booleans())
def test_decode_is_the_library_s(tokenizer: Tokenizer, token_ids: list[int], skip: bool) -> None:
    ours = tokenizer.decode(token_ids, skip_special_tokens=skip)
    assert ours == LIBRARY.decode(token_ids, skip_special_tokens=skip)


def test_every_byte_has_a_token(tokenizer: Tokenizer) -> None:
    alphabet = {tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)}
    assert {bytes([byte]) for byte in range(256)} <= alphabet


def test_special_tokens(tokenizer: Tokenizer) -> None:
    assert [tokenizer.is_special(token) for token in (2044, 2045, 2046, 2047)] == [False] + [
        True
    ] * 3
    assert tokenizer.token_bytes(2047) == b"<|im_end|>"


def test_text_without_a_utf8_form(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidRequestError, match="position 2") as caught:
        tokenizer.encode("ab\udc00")
    assert caught.value.parameter == "prompt"


def test_negative_token(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidRequestError, match="-1"):
        tokenizer.decode([-1])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: no such file"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": {"type": "Nothing"}}'])
def test_broken_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)


def test_another_decoder_is_refused(tmp_path: Path) -> None:
    shutil.copy(TINY / "tokenizer.json", tmp_path)
    path = tmp_path / "tokenizer.json"
    stated = json.loads(path.read_text())
    stated["decoder"] = {"type": "Fuse"}
    path.write_text(json.dumps(stated))
    with pytest.raises(TokenizerError, match="Fuse"):
        Tokenizer.load(tmp_path)
