"""/v1/completions: prompts of every kind, echo, log-probabilities, streams."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from stagegate import SamplingParams
from stagegate.server.openai.responses import Completion, CompletionLogprobs
from suites.online.event_stream import chunks, error_of
from suites.online.live_server import MODEL, LiveServer

# The same whatever a checkpoint recommends for sampling.
GREEDY = {"model": MODEL, "temperature": 0, "repetition_penalty": 1}

criteria = pytest.mark.criterion("s0.online", "s4.online")


def complete(api: httpx.Client, **fields: Any) -> Completion:
    response = api.post("/v1/completions", json=GREEDY | fields)
    assert response.status_code == 200, response.text
    return Completion.model_validate_json(response.content, strict=True)


def whole_text(tokens: list[str]) -> str:
    """The text of tokens as they are shown: a part of a character by its bytes."""
    shown = (
        bytes.fromhex(token.removeprefix("bytes:").replace("\\x", ""))
        if token.startswith("bytes:")
        else token.encode()
        for token in tokens
    )
    return b"".join(shown).decode(errors="replace")


def stream(api: httpx.Client, **fields: Any) -> list[Completion]:
    body = GREEDY | {"stream": True} | fields
    with api.stream("POST", "/v1/completions", json=body) as response:
        return list(chunks(response, Completion))


def joined(pieces: list[Completion], index: int) -> tuple[str, CompletionLogprobs]:
    """Text and log-probabilities of a streamed choice."""
    lists = CompletionLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
    text = ""
    for choice in (choice for piece in pieces for choice in piece.choices):
        if choice.index == index:
            text += choice.text
            if choice.logprobs is not None:
                for name, entries in choice.logprobs:
                    getattr(lists, name).extend(entries)
    return text, lists


@criteria
def test_completes_and_streams_the_same(api: httpx.Client, server: LiveServer) -> None:
    answer = complete(api, prompt="Alice was", max_tokens=12, ignore_eos=True)
    [choice] = answer.choices
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    assert choice.text == server.answer_of_engine("Alice was", params).text
    assert choice.finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    pieces = stream(api, prompt="Alice was", max_tokens=12, ignore_eos=True)
    assert joined(pieces, 0)[0] == choice.text
    assert [c.finish_reason for p in pieces for c in p.choices][-2:] == [None, "length"]


def test_sixteen_tokens_by_default(api: httpx.Client) -> None:
    usage = complete(api, prompt="Alice was", ignore_eos=True).usage
    assert usage is not None
    assert usage.completion_tokens == 16


def test_every_kind_of_prompt(api: httpx.Client, server: LiveServer) -> None:
    encode = server.llm.engine.tokenizer.encode
    texts = ["Alice was", "Down the"]
    [one] = complete(api, prompt=texts[0]).choices
    [other] = complete(api, prompt=texts[1]).choices
    assert complete(api, prompt=encode(texts[0])).choices == [one]
    for both in (texts, [encode(text) for text in texts]):
        assert complete(api, prompt=both).choices == [one, other.model_copy(update={"index": 1})]


def test_choices_are_numbered_through_all_prompts(api: httpx.Client) -> None:
    fields = {
        "prompt": ["Alice was", "Down the"],
        "n": 2,
        "temperature": 3,
        "seed": 4,
        "ignore_eos": True,
        "stream_options": {"include_usage": True},
    }
    plain = {name: value for name, value in fields.items() if name != "stream_options"}
    answer = complete(api, **plain)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len({choice.text for choice in answer.choices}) == 4
    pieces = stream(api, **fields)
    assert [joined(pieces, index)[0] for index in range(4)] == [c.text for c in answer.choices]
    assert pieces[-1].choices == []
    assert pieces[-1].usage is not None
    assert answer.usage is not None
    assert pieces[-1].usage.completion_tokens == answer.usage.completion_tokens == 64
    assert pieces[-1].usage.prompt_tokens == answer.usage.prompt_tokens


def test_logprobs_point_into_the_text(api: httpx.Client) -> None:
    fields = {"prompt": "Alice was", "logprobs": 2, "max_tokens": 8, "ignore_eos": True}
    [choice] = complete(api, **fields).choices
    lists = choice.logprobs
    assert lists is not None
    assert whole_text(lists.tokens) == choice.text
    for token, offset in zip(lists.tokens, lists.text_offset, strict=True):
        assert token.startswith("bytes:") or choice.text[offset:].startswith(token)
    for token, logprob, top in zip(
        lists.tokens, lists.token_logprobs, lists.top_logprobs, strict=True
    ):
        assert top is not None
        assert top[token] == logprob == max(top.values())  # greedy
        assert len(top) == 2
    text, streamed = joined(stream(api, **fields), 0)
    assert (text, streamed) == (choice.text, lists)


def test_a_token_that_is_part_of_a_character_is_shown_as_bytes(
    api: httpx.Client, server: LiveServer
) -> None:
    tokenizer = server.llm.engine.tokenizer
    part = next(i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i) == b"\xc3")
    bias = {str(part): 100}
    [choice] = complete(api, prompt="x", logprobs=0, max_tokens=1, logit_bias=bias).choices
    assert choice.logprobs is not None
    assert choice.logprobs.tokens == ["bytes:\\xc3"]
    assert choice.text == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("n", [1, 2])
def test_echo_returns_the_prompt_logprobs(api: httpx.Client, n: int) -> None:
    prompts = ["Alice was", "Down the"]
    fields = {"prompt": prompts, "echo": True, "logprobs": 1, "n": n, "ignore_eos": True}
    answer = complete(api, max_tokens=4, **fields)
    pieces = stream(api, max_tokens=4, **fields)
    for choice in answer.choices:
        prompt = prompts[choice.index // n]
        assert choice.text.startswith(prompt)
        assert choice.logprobs is not None
        assert whole_text(choice.logprobs.tokens) == choice.text
        assert choice.logprobs.token_logprobs[0] is None
        assert choice.logprobs.top_logprobs[0] is None
        assert all(value is not None for value in choice.logprobs.token_logprobs[1:])
        assert choice.logprobs.text_offset[0] == 0
        assert joined(pieces, choice.index) == (choice.text, choice.logprobs)
    alone = complete(api, max_tokens=0, **fields)
    assert [choice.text for choice in alone.choices] == [
        prompt for prompt in prompts for _ in range(n)
    ]
    assert alone.usage is not None
    assert alone.usage.completion_tokens == 0
    for choice, longer in zip(alone.choices, answer.choices, strict=True):
        assert choice.logprobs is not None
        assert longer.logprobs is not None
        length = len(choice.logprobs.tokens)
        assert choice.logprobs.tokens == longer.logprobs.tokens[:length]
        assert choice.logprobs.token_logprobs == longer.logprobs.token_logprobs[:length]


def test_echo_without_logprobs_is_the_prompt_before_the_text(api: httpx.Client) -> None:
    [plain] = complete(api, prompt="Alice was").choices
    [echoed] = complete(api, prompt="Alice was", echo=True).choices
    assert echoed.text == "Alice was" + plain.text
    assert joined(stream(api, prompt="Alice was", echo=True), 0)[0] == echoed.text


def test_echoed_prompt_logprobs_equal_generated_ones(api: httpx.Client, server: LiveServer) -> None:
    """Prompt tokens have the log-probabilities that they had when they were generated."""
    fields = {"max_tokens": 6, "logprobs": 1, "ignore_eos": True}
    [written] = complete(api, prompt="Alice was", **fields).choices
    params = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)
    prompt = server.llm.engine.tokenizer.encode("Alice was")
    prompt += server.answer_of_engine("Alice was", params).token_ids
    [read] = complete(api, prompt=prompt, max_tokens=0, echo=True, logprobs=1).choices
    assert written.logprobs is not None
    assert read.logprobs is not None
    assert read.logprobs.tokens[-6:] == written.logprobs.tokens
    assert read.logprobs.token_logprobs[-6:] == pytest.approx(
        written.logprobs.token_logprobs, abs=1e-3
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [2**31 - 1]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": "x " * 5000}, "prompt"),
        ({"prompt": ["x"] * 1025}, "prompt"),
        ({"prompt": ["x"] * 100, "n": 11}, "prompt"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "x", "min_tokens": 17}, "min_tokens"),
        ({"prompt": "x", "suffix": "y"}, "suffix"),
        ({"prompt": "x", "stream_options": {}}, "stream_options"),
        ({"prompt": "x", "stop_token_ids": [10**12]}, "stop_token_ids"),
        ({"prompt": "x", "logprobs": 21}, "logprobs"),
    ],
)
def test_refusals_name_the_field(api: httpx.Client, fields: dict[str, Any], param: str) -> None:
    response = api.post("/v1/completions", json=fields)
    assert response.status_code == 400
    error = error_of(response)
    assert error["type"] == "invalid_request_error"
    assert error["param"].partition(".")[0] == param


def test_the_last_token_of_the_vocabulary_is_one(api: httpx.Client, server: LiveServer) -> None:
    size = server.llm.engine.model.decoder.vocab_size
    assert complete(api, prompt=[size - 1], max_tokens=1).choices
    response = api.post("/v1/completions", json={"prompt": [size]})
    assert response.status_code == 400
    assert error_of(response)["param"] == "prompt"
    assert str(size) in error_of(response)["message"]
