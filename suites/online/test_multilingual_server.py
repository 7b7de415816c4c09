"""Answers and streams of a model whose tokens are words of many scripts, or parts of characters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stagegate.server.openai.responses import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatTokenLogprob,
    Completion,
    CompletionLogprobs,
)
from stagegate.text.tokenizer import Tokenizer
from suites.models.multilingual import END_OF_SENTENCE, IM_END, TEXTS, WORDS
from suites.online.conftest import MakeLLM
from suites.online.event_stream import chunks
from suites.online.live_server import LiveServer, live_server

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
# Hot: random weights write anything then.
WILD = {"temperature": 1.5, "ignore_eos": True, "max_tokens": 32}
SEEDS = range(2)


@pytest.fixture(scope="module")
def model_path(multilingual_model: Path) -> Path:
    """The checkpoint of this server."""
    return multilingual_model


@pytest.fixture(scope="module")
def kv_layout() -> str:
    """The layout in which results do not depend on where keys are stored."""
    return "block"


@pytest.fixture(scope="module")
def server(make_llm: MakeLLM) -> Iterator[LiveServer]:
    """Answers are compared bit for bit, on a GPU too."""
    with live_server(make_llm(deterministic=True)) as running:
        yield running


@pytest.fixture(scope="module")
def tokenizer(model_path: Path) -> Tokenizer:
    return Tokenizer.load(model_path)


Choice = tuple[str, Any, str | None, str | int | None]  # text, logprobs, the reasons of its end


def ask_chat(api: httpx.Client, *, stream: bool, **fields: Any) -> list[Choice]:
    body = {"messages": [{"role": "user", "content": "说你好"}], "stream": stream} | fields
    response = api.post(CHAT, json=body)
    assert response.status_code == 200, response.text
    if not stream:
        answer = ChatCompletion.model_validate_json(response.content, strict=True)
        return [
            (
                choice.message.content or "",
                choice.logprobs.content if choice.logprobs else [],
                choice.finish_reason,
                choice.stop_reason,
            )
            for choice in answer.choices
        ]
    found: dict[int, Choice] = {}
    for chunk in chunks(response, ChatCompletionChunk):
        for choice in chunk.choices:
            text, logprobs, finish, stop = found.get(choice.index, ("", [], None, None))
            text += choice.delta.content or ""
            if choice.logprobs is not None:
                logprobs = [*logprobs, *choice.logprobs.content]
            if choice.finish_reason is not None:
                finish, stop = choice.finish_reason, choice.stop_reason
            found[choice.index] = (text, logprobs, finish, stop)
    return [found[index] for index in sorted(found)]


def ask_text(api: httpx.Client, *, stream: bool, **fields: Any) -> list[Choice]:
    response = api.post(TEXT, json={"prompt": TEXTS[0], "stream": stream} | fields)
    assert response.status_code == 200, response.text
    if stream:
        pieces = list(chunks(response, Completion))
    else:
        pieces = [Completion.model_validate_json(response.content, strict=True)]
    found: dict[int, Choice] = {}
    for choice in (choice for piece in pieces for choice in piece.choices):
        none = CompletionLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
        text, logprobs, *_ = found.get(choice.index, ("", none, None, None))
        for name, entries in choice.logprobs or ():
            getattr(logprobs, name).extend(entries)
        found[choice.index] = (
            text + choice.text, logprobs, choice.finish_reason, choice.stop_reason
        )  # fmt: skip
    return [found[index] for index in sorted(found)]


ASK = {CHAT: ask_chat, TEXT: ask_text}


def content_of(entries: list[ChatTokenLogprob]) -> str:
    return b"".join(bytes(entry.bytes) for entry in entries).decode(errors="replace")


@pytest.mark.criterion("s0.online", "s4.online")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_chat_with_logprobs_streams_as_it_answers(
    api: httpx.Client, tokenizer: Tokenizer, seed: int
) -> None:
    fields = WILD | {"seed": seed, "n": 2, "logprobs": True, "top_logprobs": 20}
    fields["skip_special_tokens"] = False
    choices = ask_chat(api, stream=False, **fields)
    assert ask_chat(api, stream=True, **fields) == choices
    for text, entries, *_ in choices:
        assert content_of(entries) == text
        assert len(entries) == 32
        shown = [entry.token for entry in entries]
        shown += [top.token for entry in entries for top in entry.top_logprobs]
        assert any(not token.isascii() for token in shown)
        assert any(token.startswith("bytes:") for token in shown)


@pytest.mark.criterion("s0.online", "s4.online")
@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("prompt", TEXTS, ids=ascii)
def test_a_completion_with_logprobs_streams_as_it_answers(
    api: httpx.Client, prompt: str, echo: bool
) -> None:
    fields = WILD | {"prompt": prompt, "seed": 1, "n": 2, "logprobs": 20, "echo": echo}
    choices = ask_text(api, stream=False, **fields)
    assert ask_text(api, stream=True, **fields) == choices
    assert len(choices) == 2
    for text, lists, *_ in choices:
        assert text.startswith(prompt if echo else "")
        for token, offset, top in zip(
            lists.tokens, lists.text_offset, lists.top_logprobs, strict=True
        ):
            if not token.startswith(("bytes:", "<")):
                assert text[offset:].startswith(token)
            assert top is None or token in top
        assert any(not token.isascii() for token in lists.tokens)


@pytest.mark.parametrize("path", ASK)
@pytest.mark.parametrize("word", WORDS, ids=ascii)
def test_every_word_is_streamed_whole(
    api: httpx.Client, tokenizer: Tokenizer, path: str, word: str
) -> None:
    [token] = [i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i) == word.encode()]
    logprobs: dict[str, Any] = {"logprobs": 2} if path == TEXT else {"logprobs": True}
    fields = {"logit_bias": {str(token): 100}, "temperature": 0, "max_tokens": 3} | logprobs
    [choice] = ASK[path](api, stream=True, **fields)
    assert choice[0] == word * 3
    assert [choice] == ASK[path](api, stream=False, **fields)
    tokens = choice[1].tokens if path == TEXT else [entry.token for entry in choice[1]]
    assert tokens == [word] * 3


@pytest.mark.parametrize("path", ASK)
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_stop_string_cuts_anywhere(
    api: httpx.Client, path: str, include: bool, seed: int
) -> None:
    """Stop strings of one to three characters, from every position of the uncut text."""
    fields = WILD | {"seed": seed, "include_stop_str_in_output": include}
    [(text, *_)] = ASK[path](api, stream=False, **fields)
    for begin in range(0, len(text) - 3, 4):
        stop = text[begin : begin + 1 + begin % 3]
        if "\ufffd" in stop:
            continue  # a broken character, which is known late
        cut = text.find(stop) + (len(stop) if include else 0)
        expected = (text[:cut], "stop", stop)
        for stream in (False, True):
            [(stopped, _, *reasons)] = ASK[path](api, stream=stream, stop=[stop, "∞"], **fields)
            assert (stopped, *reasons) == expected


@pytest.mark.parametrize("path", ASK)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("special", [END_OF_SENTENCE, IM_END])
def test_a_special_token_may_be_a_stop_string(
    api: httpx.Client, tokenizer: Tokenizer, path: str, stream: bool, include: bool, special: str
) -> None:
    [token] = tokenizer.encode(special)
    [(text, _, *reasons)] = ASK[path](
        api,
        stream=stream,
        stop=special,
        include_stop_str_in_output=include,
        logit_bias={str(token): 100},
        temperature=0,
    )
    assert (text, *reasons) == (special if include else "", "stop", special)


SCHEMA = {
    "type": "object",
    "properties": {
        "名字": {"enum": ["爱丽丝", "🐱", "Ελλάδα"]},
        "नमस्ते": {"type": "string", "maxLength": 8},
        "数": {"type": "integer", "maximum": 99, "minimum": 0},
    },
    "required": ["名字", "नमस्ते", "数"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("path", ASK)
@pytest.mark.parametrize("seed", SEEDS)
def test_guided_json_has_the_names_and_choices_of_its_schema(
    api: httpx.Client, path: str, seed: int
) -> None:
    fields = {"guided_json": SCHEMA, "temperature": 1.0, "seed": seed, "max_tokens": 400}
    [choice] = ASK[path](api, stream=False, **fields)
    assert [choice] == ASK[path](api, stream=True, **fields)
    text, _, finish_reason, _ = choice
    assert finish_reason == "stop"
    found = json.loads(text)
    assert list(found) == SCHEMA["required"]
    assert found["名字"] in {"爱丽丝", "🐱", "Ελλάδα"}
    assert len(found["नमस्ते"]) <= 8
    assert 0 <= found["数"] <= 99


@pytest.mark.parametrize("path", ASK)
@pytest.mark.parametrize(
    ("field", "value", "texts"),
    [
        ("guided_choice", ["你好", "世界。"], {"你好", "世界。"}),
        ("guided_choice", ["👍🏽", "👩\u200d🚀"], {"👍🏽", "👩\u200d🚀"}),
        ("guided_choice", ["\u2028", "\xa0"], {"\u2028", "\xa0"}),
        ("guided_choice", ["x\u0302"], {"x\u0302"}),
        ("guided_regex", "(好|🐱){2}。", {f"{a}{b}。" for a in "好🐱" for b in "好🐱"}),
        ("guided_regex", "[α-γ]", set("αβγ")),
    ],
)
def test_structured_text_in_any_script(
    api: httpx.Client, path: str, field: str, value: Any, texts: set[str]
) -> None:
    for seed in SEEDS:
        fields = {field: value, "temperature": 1.0, "seed": seed, "max_tokens": 40}
        [choice] = ASK[path](api, stream=False, **fields)
        assert [choice] == ASK[path](api, stream=True, **fields)
        assert choice[0] in texts
        assert choice[2] == "stop"
