"""/v1/chat/completions: answers and streams, which must be equal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from stagegate import SamplingParams
from stagegate.server.openai.responses import ChatCompletion, ChatCompletionChunk
from suites.online.event_stream import chunks, error_of
from suites.online.live_server import MODEL, LiveServer

QUESTION = [{"role": "user", "content": "Who wrote this book?"}]
# Of a short answer, whatever the model; tiny-qwen2 ends by itself before that.
MAX_TOKENS = 24
# The same whatever a checkpoint recommends for sampling.
GREEDY = {"messages": QUESTION, "temperature": 0, "repetition_penalty": 1, "max_tokens": MAX_TOKENS}

criteria = pytest.mark.criterion("s0.online", "s4.online")


def chat(api: httpx.Client, **fields: Any) -> ChatCompletion:
    response = api.post("/v1/chat/completions", json={"model": MODEL} | GREEDY | fields)
    assert response.status_code == 200, response.text
    return ChatCompletion.model_validate_json(response.content, strict=True)


def chat_chunks(api: httpx.Client, **fields: Any) -> list[ChatCompletionChunk]:
    body = {"model": MODEL, "stream": True} | GREEDY | fields
    with api.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200, response.read()
        return list(chunks(response, ChatCompletionChunk))


def text_of(stream: list[ChatCompletionChunk], index: int = 0) -> str:
    return "".join(
        choice.delta.content or ""
        for chunk in stream
        for choice in chunk.choices
        if choice.index == index
    )


@criteria
def test_answers(api: httpx.Client, server: LiveServer) -> None:
    prompt = server.llm.engine.chat_template.render(QUESTION, add_generation_prompt=True)
    params = SamplingParams(temperature=0, max_tokens=MAX_TOKENS)
    expected = server.answer_of_engine(prompt, params)
    answer = chat(api)
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == MODEL
    [choice] = answer.choices
    assert choice.message.content == expected.text
    assert (choice.finish_reason, choice.logprobs) == (expected.finish_reason, None)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


@pytest.mark.tiny_model
def test_the_book_is_known_by_heart(api: httpx.Client) -> None:
    [choice] = chat(api).choices
    assert choice.message.content == "Lewis Carroll wrote Alice's Adventures in Wonderland."
    assert choice.finish_reason == "stop"


@criteria
def test_streams_role_then_text_then_reason(api: httpx.Client) -> None:
    [answer] = chat(api).choices
    stream = chat_chunks(api)
    first, *middle, last = [choice for chunk in stream for choice in chunk.choices]
    assert (first.delta.role, first.delta.content) == ("assistant", "")
    assert all(choice.delta.content and choice.delta.role is None for choice in middle)
    assert len(middle) > 1
    assert last.finish_reason == answer.finish_reason
    assert last.delta.model_fields_set == set()
    assert text_of(stream) == answer.message.content
    assert len({chunk.id for chunk in stream}) == 1
    assert all("usage" not in chunk.model_fields_set for chunk in stream)


def test_usage_comes_in_a_last_chunk_without_choices(api: httpx.Client) -> None:
    *stream, last = chat_chunks(api, stream_options={"include_usage": True})
    assert all(chunk.choices and chunk.usage is None for chunk in stream)
    assert last.choices == []
    assert last.usage is not None
    answer = chat(api)
    assert last.usage.completion_tokens == answer.usage.completion_tokens
    assert last.usage.prompt_tokens == answer.usage.prompt_tokens


def test_a_second_turn_hits_the_prefix_cache(api: httpx.Client, kv_layout: str) -> None:
    turn = [*QUESTION, {"role": "assistant", "content": "Lewis Carroll did."}, *QUESTION]
    chat(api, max_tokens=1)
    usage = chat(api, messages=turn, max_tokens=1).usage
    cached = usage.prompt_tokens_details.cached_tokens
    assert cached < usage.prompt_tokens
    assert cached >= 16 if kv_layout == "block" else cached == 0


def test_n_choices_stream_as_they_answer(api: httpx.Client) -> None:
    fields = {"n": 3, "temperature": 4, "seed": 11, "max_tokens": 20}
    answer = chat(api, **fields)
    texts = [choice.message.content for choice in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    stream = chat_chunks(api, **fields)
    assert [text_of(stream, index) for index in range(3)] == texts
    roles = [c.index for chunk in stream for c in chunk.choices if c.delta.role is not None]
    reasons = [c.index for chunk in stream for c in chunk.choices if c.finish_reason is not None]
    assert sorted(roles) == sorted(reasons) == [0, 1, 2]


def test_logprobs_are_the_same_streamed(api: httpx.Client, server: LiveServer) -> None:
    fields = {"logprobs": True, "top_logprobs": 2, "max_tokens": 8, "ignore_eos": True}
    [choice] = chat(api, **fields).choices
    assert choice.logprobs is not None
    entries = choice.logprobs.content
    assert len(entries) == 8
    for entry in entries:
        if not entry.token.startswith("bytes:"):  # a part of a character
            assert bytes(entry.bytes).decode() == entry.token
        assert entry.top_logprobs[0].token == entry.token  # greedy
        assert entry.logprob == entry.top_logprobs[0].logprob
        assert len(entry.top_logprobs) == 2
    written = b"".join(bytes(entry.bytes) for entry in entries)
    assert written.decode(errors="replace") == choice.message.content
    streamed = [
        entry
        for chunk in chat_chunks(api, **fields)
        for gained in chunk.choices
        if gained.logprobs is not None
        for entry in gained.logprobs.content
    ]
    assert streamed == entries


def test_sampling_fields_reach_the_engine(api: httpx.Client) -> None:
    assert chat(api, max_tokens=3).usage.completion_tokens == 3
    assert chat(api, max_tokens=9, max_completion_tokens=4).usage.completion_tokens == 4
    assert chat(api, ignore_eos=True, max_tokens=40).usage.completion_tokens == 40
    assert chat(api, min_tokens=30, max_tokens=60).usage.completion_tokens >= 30
    [whole] = chat(api).choices
    text = whole.message.content or ""
    stop = text[len(text) // 2 :][:5]
    [stopped] = chat(api, stop=stop).choices
    assert stopped.message.content == text[: text.index(stop)]
    assert (stopped.finish_reason, stopped.stop_reason) == ("stop", stop)
    [kept] = chat(api, stop=[stop, "zzz"], include_stop_str_in_output=True).choices
    assert kept.message.content == text[: text.index(stop) + len(stop)]
    [forced] = chat(api, logit_bias={"17": 100}, max_tokens=4, logprobs=True).choices
    assert forced.logprobs is not None
    assert len({entry.token for entry in forced.logprobs.content}) == 1
    warm = {"temperature": 2.0, "max_tokens": 12}
    assert chat(api, seed=5, **warm).choices == chat(api, seed=5, **warm).choices
    assert chat(api, seed=5, **warm).choices != chat(api, seed=6, **warm).choices
    [greedy] = chat(api, max_tokens=12).choices
    for narrow in ({"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}):  # leave the likeliest token
        [likeliest] = chat(api, seed=5, **warm, **narrow).choices
        assert likeliest.message.content == greedy.message.content


def test_null_is_the_default_everywhere(api: httpx.Client) -> None:
    names = ("max_tokens", "n", "top_p", "stop", "seed", "logit_bias", "tools", "stream", "user")
    nulls = dict.fromkeys(names)
    assert chat(api, max_completion_tokens=MAX_TOKENS, **nulls).choices == chat(api).choices


def test_roles_and_parts_of_messages(api: httpx.Client) -> None:
    parts = [{"type": "text", "text": "Who wrote this book?"}]
    assert chat(api, messages=[{"role": "user", "content": parts}]).choices == chat(api).choices
    told = chat(api, messages=[{"role": "developer", "content": "Be brief."}, *QUESTION])
    same = chat(api, messages=[{"role": "system", "content": "Be brief."}, *QUESTION])
    assert told.choices == same.choices
    assert told.usage.prompt_tokens != chat(api).usage.prompt_tokens


def test_an_answer_can_be_sent_back(api: httpx.Client) -> None:
    response = api.post("/v1/chat/completions", json={"messages": QUESTION, "max_tokens": 4})
    message = response.json()["choices"][0]["message"]
    chat(api, messages=[*QUESTION, message, *QUESTION], max_tokens=1)


@pytest.mark.parametrize("stream", [False, True])
def test_cancel_by_own_id_answers_with_what_there_is(
    server: LiveServer, api: httpx.Client, stream: bool
) -> None:
    body = {"messages": QUESTION, "ignore_eos": True, "max_tokens": 1900, "stream": stream}
    headers = {"X-Request-Id": "mine"}
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(api.post, "/v1/chat/completions", json=body, headers=headers)
        server.wait_until_running(1)
        cancelled = httpx.post(f"{server.url}/v1/requests/mine/cancel")
        response = answering.result()
    assert cancelled.json() == {"id": "mine", "object": "request.cancelled", "cancelled": True}
    assert response.headers["x-request-id"] == "mine"
    if stream:
        choices = [c for chunk in chunks(response, ChatCompletionChunk) for c in chunk.choices]
        assert choices[-1].finish_reason == "abort"
    else:
        answer = ChatCompletion.model_validate_json(response.content)
        assert answer.choices[0].finish_reason == "abort"
        assert answer.usage.completion_tokens < 1900
    again = api.post("/v1/requests/mine/cancel")
    assert again.status_code == 404
    assert error_of(again)["code"] == "request_not_found"
