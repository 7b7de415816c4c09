"""Text to tokens and back, against the library that defines the format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from stagegate.errors import InvalidRequestError, TokenizerError
from stagegate.text.tokenizer import Tokenizer
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


@pytest.mark.parametrize("token_id", [-1, 2**31, 2**32, 2**70])
def test_what_is_no_token_id_is_named(tokenizer: Tokenizer, token_id: int) -> None:
    with pytest.raises(InvalidRequestError, match=f"got {token_id}") as caught:
        tokenizer.decode([token_id])
    assert caught.value.parameter == "token_ids"


@pytest.mark.parametrize("text", ["naïve", "Ġx", "two words", "爱丽丝"])
def test_an_added_token_is_its_own_text(text: str) -> None:
    backend = tokenizers.Tokenizer.from_file(str(TINY / "tokenizer.json"))
    backend.add_tokens([tokenizers.AddedToken(text, normalized=False)])
    tokenizer = Tokenizer(backend)
    assert tokenizer.encode(text) == [2048]
    assert tokenizer.decode([2048]) == text


def test_a_prompt_is_neither_cut_nor_filled_up(tmp_path: Path, tokenizer: Tokenizer) -> None:
    backend = tokenizers.Tokenizer.from_file(str(TINY / "tokenizer.json"))
    backend.enable_truncation(max_length=3)
    backend.enable_padding(length=64, pad_id=2045, pad_token="<|endoftext|>")
    backend.save(str(tmp_path / "tokenizer.json"))
    text = "Alice was beginning to get very tired of sitting by her sister"
    assert Tokenizer.load(tmp_path).encode(text) == tokenizer.encode(text)


def test_special_tokens_around_a_prompt_can_be_left_out(tokenizer: Tokenizer) -> None:
    backend = tokenizers.Tokenizer.from_file(str(TINY / "tokenizer.json"))
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 2045)]
    )
    plain = tokenizer.encode("<|im_start|>Alice")
    assert Tokenizer(backend).encode("<|im_start|>Alice") == [2045, *plain]
    assert Tokenizer(backend).encode("<|im_start|>Alice", add_special_tokens=False) == plain


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
