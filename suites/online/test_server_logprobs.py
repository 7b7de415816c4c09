"""Tokens, bytes and offsets in log-probabilities, for tokens that may be parts of characters."""

from __future__ import annotations

import codecs
import itertools
import math
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stagegate.outputs import TokenLogprobs
from stagegate.server.openai.logprobs import CompletionLogprobsWriter, chat_logprobs, token_text
from stagegate.text.tokenizer import Tokenizer
from suites.models.multilingual import (
    END_OF_SENTENCE,
    IM_END,
    SPECIAL_TOKENS,
    TEXTS,
    WORDS,
    multilingual_tokenizer,
)

TOKENIZER = Tokenizer(multilingual_tokenizer())
ID_OF = {TOKENIZER.token_bytes(i): i for i in range(TOKENIZER.vocab_size)}
token_lists = st.lists(st.integers(0, TOKENIZER.vocab_size + 3), max_size=30)


def entries(token_ids: list[int]) -> list[TokenLogprobs]:
    return [TokenLogprobs(token_id, -1.0) for token_id in token_ids]


def characters(content: bytes) -> list[int]:
    """The character of the decoded text that each byte is in; U+FFFD for each invalid one."""
    broken: list[tuple[int, int]] = []

    def note(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        broken.append((error.start, error.end))
        return "\ufffd", error.end

    codecs.register_error("note", note)
    lengths = []
    at = 0
    for letter in content.decode(errors="note"):
        whole = [end - begin for begin, end in broken if begin == at]
        lengths.append(whole[0] if whole else len(letter.encode()))
        at += lengths[-1]
    assert at == len(content)
    return [index for index, length in enumerate(lengths) for _ in range(length)]


def offsets(token_ids: list[int], *, skip: bool) -> list[int]:
    """The character in which each token begins; after the last for a token without text."""
    contents = [
        b"" if skip and TOKENIZER.is_special(i) else TOKENIZER.token_bytes(i) for i in token_ids
    ]
    whole = b"".join(contents)
    inside = characters(whole)
    begins = [0, *itertools.accumulate(map(len, contents))]
    return [
        inside[begin] if content else -1 for begin, content in zip(begins, contents, strict=False)
    ]


@given(token_ids=token_lists, skip=st.booleans(), cuts=st.lists(st.integers(0, 30), max_size=4))
@example(token_ids=[ID_OF[b"\xed"], ID_OF[b"\xa1"], ID_OF[b"\x80"]], skip=False, cuts=[])
def test_an_offset_is_the_character_that_a_token_begins_in(
    token_ids: list[int], skip: bool, cuts: list[int]
) -> None:
    expected = offsets(token_ids, skip=skip)
    writer = CompletionLogprobsWriter(TOKENIZER, skip_special_tokens=skip)
    bounds = sorted({0, len(token_ids), *(cut for cut in cuts if cut < len(token_ids))})
    actual = [
        offset
        for begin, end in itertools.pairwise(bounds)
        for offset in writer.write(entries(token_ids[begin:end])).text_offset
    ]
    assert actual == sorted(actual)
    text = TOKENIZER.decode(token_ids, skip_special_tokens=skip)
    for token_id, offset, character in zip(token_ids, actual, expected, strict=True):
        if character >= 0:
            assert offset == character
        if character >= 0 and not token_text(TOKENIZER, token_id).startswith("bytes:"):
            assert text[offset:].startswith(token_text(TOKENIZER, token_id))
        assert 0 <= offset <= len(text)


def test_a_token_behind_a_broken_character_begins_after_it() -> None:
    begin, letter = ID_OF[b"\xe4"], ID_OF[b"a"]
    writer = CompletionLogprobsWriter(TOKENIZER, skip_special_tokens=True)
    lists = writer.write(entries([letter, begin, letter, begin, begin, ID_OF["你".encode()]]))
    assert lists.text_offset == [0, 1, 2, 3, 4, 5]
    assert lists.tokens == ["a", "bytes:\\xe4", "a", "bytes:\\xe4", "bytes:\\xe4", "你"]


@pytest.mark.parametrize("cut", [1, 2])
def test_the_echo_ends_where_what_is_generated_begins(cut: int) -> None:
    """A prompt of token ids may end inside a character, which is then not part of the answer."""
    content = "。".encode()
    prompt = [ID_OF["你好".encode()], *(ID_OF[content[i : i + 1]] for i in range(cut))]
    rest = [ID_OF[content[i : i + 1]] for i in range(cut, 3)]
    writer = CompletionLogprobsWriter(TOKENIZER, skip_special_tokens=True)
    echo = writer.echo(prompt, [None, *entries(prompt[1:])])
    answer = writer.write(entries(rest))
    assert echo.text_offset == [0, 2, 2][: len(prompt)]
    echoed = TOKENIZER.decode(prompt, skip_special_tokens=False)
    assert answer.text_offset[0] == len(echoed) == 3
    assert echo.token_logprobs[0] is None
    assert echo.top_logprobs[0] is None


@pytest.mark.parametrize("special", SPECIAL_TOKENS)
def test_special_tokens_take_part_in_the_echo_only(special: str) -> None:
    token, word = ID_OF[special.encode()], ID_OF["世界".encode()]
    writer = CompletionLogprobsWriter(TOKENIZER, skip_special_tokens=True)
    echo = writer.echo([token, word], [None, *entries([word])])
    assert echo.text_offset == [0, len(special)]
    assert echo.tokens == [special, "世界"]
    behind = len(special) + 2
    assert writer.write(entries([token, word])).text_offset == [behind, behind]


@pytest.mark.parametrize("text", [*WORDS, *TEXTS, IM_END, END_OF_SENTENCE], ids=ascii)
def test_bytes_of_a_chat_join_to_the_text(text: str) -> None:
    token_ids = TOKENIZER.encode(text)
    tokens = chat_logprobs(TOKENIZER, entries(token_ids))
    joined = b"".join(bytes(token.bytes) for token in tokens)
    assert joined.decode() == TOKENIZER.decode(token_ids, skip_special_tokens=False)
    for token in tokens:
        if token.token.startswith("bytes:"):
            spelled = "".join(f"\\x{byte:02x}" for byte in token.bytes)
            assert token.token == f"bytes:{spelled}"
            assert "\ufffd" in bytes(token.bytes).decode(errors="replace")
        else:
            assert token.token.encode() == bytes(token.bytes)


def test_of_tokens_with_equal_text_the_most_likely_is_shown() -> None:
    """All ids beyond the tokenizer's vocabulary have an empty text; a dictionary holds only one."""
    padding = TOKENIZER.vocab_size
    top = ((padding, -0.5), (padding + 1, -1.5), (ID_OF["你".encode()], -2.0))
    entry = TokenLogprobs(padding + 2, -3.0, top)
    lists = CompletionLogprobsWriter(TOKENIZER, skip_special_tokens=True).write([entry])
    assert lists.tokens == [""]
    assert lists.token_logprobs == [-3.0]
    assert lists.top_logprobs == [{"": -0.5, "你": -2.0}]


def test_a_probability_of_zero_is_a_number_of_json() -> None:
    token = ID_OF["你".encode()]
    entry = TokenLogprobs(token, -math.inf, ((token, -math.inf),))
    lists = CompletionLogprobsWriter(TOKENIZER, skip_special_tokens=True).write([entry])
    assert lists.token_logprobs == [-9999.0]
    assert lists.top_logprobs == [{"你": -9999.0}]
    [chat] = chat_logprobs(TOKENIZER, [entry])
    assert (chat.logprob, chat.top_logprobs[0].logprob) == (-9999.0, -9999.0)


def test_the_tokenizer_is_that_of_the_checkpoint(multilingual_model: Path) -> None:
    loaded = Tokenizer.load(multilingual_model)
    assert {loaded.token_bytes(i): i for i in range(loaded.vocab_size)} == ID_OF
