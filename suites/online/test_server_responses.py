"""/v1/responses: the response, its stream, and the request fields that it repeats."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from openai.types.responses import ResponseOutputMessage, ResponseOutputText

from stagegate.server.http.settings import ServerSettings
from suites.online.conftest import MakeLLM
from suites.online.event_stream import error_of
from suites.online.live_server import MODEL, LiveServer, live_server
from suites.online.response_stream import (
    check_growth,
    checked_response,
    last_response,
    response_events,
)

pytestmark = pytest.mark.criterion("s0.online", "s4.online")

QUESTION = "Who wrote this book?"
PATH = "/v1/responses"
LOGPROBS = "message.output_text.logprobs"


def ask(api: httpx.Client, **fields: Any) -> Any:
    response = api.post(PATH, json={"input": QUESTION, "temperature": 0} | fields)
    assert response.status_code == 200, response.text
    return checked_response(response.json())


def stream(api: httpx.Client, **fields: Any) -> list[Any]:
    body = {"input": QUESTION, "temperature": 0, "stream": True} | fields
    events = response_events(api.post(PATH, json=body))
    check_growth(events)
    return events


def chat_text(api: httpx.Client, messages: list[dict[str, Any]], **fields: Any) -> str:
    body = {"messages": messages, "temperature": 0} | fields
    choices = api.post("/v1/chat/completions", json=body).json()["choices"]
    return str(choices[0]["message"]["content"])


def test_a_response_is_one_message_with_the_text_of_a_chat(api: httpx.Client) -> None:
    response = ask(api)
    [message] = response.output
    assert (message.type, message.role, message.status) == ("message", "assistant", "completed")
    [part] = message.content
    assert part.text == chat_text(api, [{"role": "user", "content": QUESTION}])
    assert part.text
    assert (part.annotations, part.logprobs) == ([], [])
    assert response.id.startswith("resp_")
    assert message.id.startswith("msg_")
    assert (response.status, response.error, response.incomplete_details) == (
        *("completed", None, None),
    )
    assert response.created_at <= response.completed_at


def test_usage_is_that_of_a_chat(api: httpx.Client) -> None:
    ask(api)
    messages = [{"role": "user", "content": QUESTION}]
    body = {"messages": messages, "max_tokens": 5, "temperature": 0}
    expected = api.post("/v1/chat/completions", json=body).json()["usage"]
    usage = ask(api, max_output_tokens=5).usage
    assert usage.input_tokens == expected["prompt_tokens"]
    cached_tokens = expected["prompt_tokens_details"]["cached_tokens"]  # 0 without a prefix cache
    assert usage.input_tokens_details.cached_tokens == cached_tokens
    assert usage.output_tokens == 5
    assert usage.total_tokens == usage.input_tokens + 5
    assert usage.output_tokens_details.reasoning_tokens == 0


def test_a_stream_builds_up_the_response(api: httpx.Client) -> None:
    whole, events = ask(api), stream(api)
    assert [event.type for event in events if not event.type.endswith(".delta")] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    response = last_response(events)
    assert response.output_text == whole.output_text
    assert response.status == "completed"
    assert response.usage is not None
    assert response.usage.output_tokens == whole.usage.output_tokens
    assert events[0].response.usage is None
    assert events[0].response.status == "in_progress"


def test_a_cut_response_is_incomplete(api: httpx.Client) -> None:
    response = ask(api, max_output_tokens=3)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output[0].status == "incomplete"
    assert response.completed_at is None
    events = stream(api, max_output_tokens=3)
    assert events[-1].type == "response.incomplete"
    streamed = last_response(events)
    assert streamed.incomplete_details is not None
    assert streamed.incomplete_details.reason == "max_output_tokens"
    assert streamed.output_text == response.output_text


def test_instructions_are_a_system_message(api: httpx.Client) -> None:
    messages = [
        {"role": "system", "content": "Answer about this book."},
        {"role": "user", "content": QUESTION},
    ]
    response = ask(api, instructions="Answer about this book.", max_output_tokens=12)
    assert response.output_text == chat_text(api, messages, max_tokens=12)
    assert response.instructions == "Answer about this book."


def test_settings_come_back(api: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "null"}}, "default": None}
    tool = {
        "type": "function",
        "name": "clock",
        "description": None,
        "parameters": schema,
        "strict": True,
    }
    sent = {
        "instructions": "Be short.",
        "max_output_tokens": 2,
        "temperature": 0.5,
        "top_p": 0.25,
        "tools": [tool],
        "tool_choice": "none",
        "parallel_tool_calls": False,
        "text": {"format": {"type": "text"}},
        "metadata": {"a": "b"},
        "user": "u",
        "reasoning": {"effort": "low", "summary": None},
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "truncation": "disabled",
        "background": False,
    }
    body = api.post(PATH, json={"input": QUESTION} | sent).json()
    assert {name: body[name] for name in sent} == sent
    checked_response(body)


def test_settings_left_open_come_back_as_what_held(api: httpx.Client, server: LiveServer) -> None:
    recommended = server.llm.engine.default_sampling_params(max_tokens=None)
    body = api.post(PATH, json={"input": QUESTION, "max_output_tokens": 1}).json()
    expected = {
        "object": "response",
        "model": MODEL,
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "text": {"format": {"type": "text"}},
        "temperature": recommended.temperature,
        "top_p": recommended.top_p,
        "top_logprobs": 0,
        "truncation": "disabled",
        "store": False,
        "previous_response_id": None,
        "metadata": {},
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
    }
    assert {name: body[name] for name in expected} == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"store": True},
        {"store": False},
        {"reasoning": {"effort": "high", "summary": "auto"}},
        {"text": {"verbosity": "low"}},
        {"service_tier": "flex"},
        {"prompt_cache_retention": "24h"},
        {"stream_options": {"include_obfuscation": False}},
        {"include": ["reasoning.encrypted_content", "file_search_call.results"]},
        {"client_metadata": {"installation": {"id": 1}}},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
        {"top_logprobs": 0},
        {"previous_response_id": None, "conversation": None, "prompt": None},
        {"max_tool_calls": None, "metadata": None, "truncation": None, "text": None},
        {"context_management": None, "whatever": None},
    ],
    ids=json.dumps,
)
def test_what_has_no_effect(api: httpx.Client, fields: dict[str, Any]) -> None:
    text = ask(api, max_output_tokens=8).output_text
    assert ask(api, max_output_tokens=8, **fields).output_text == text


def test_sampling_fields_are_those_of_chat(api: httpx.Client) -> None:
    fields = {"temperature": 1.5, "top_k": 20, "seed": 7, "repetition_penalty": 1.2}
    text = chat_text(api, [{"role": "user", "content": QUESTION}], max_tokens=20, **fields)
    assert ask(api, max_output_tokens=20, **fields).output_text == text
    whole = ask(api).output_text
    word = whole.split()[1]
    assert ask(api, stop=[word]).output_text == whole.partition(word)[0]


@pytest.mark.parametrize("streamed", [False, True])
def test_logprobs_of_every_token_of_the_text(api: httpx.Client, streamed: bool) -> None:
    fields = {"include": [LOGPROBS], "top_logprobs": 2}
    response = last_response(stream(api, **fields)) if streamed else ask(api, **fields)
    message = response.output[0]
    assert isinstance(message, ResponseOutputMessage)
    [part] = message.content
    assert isinstance(part, ResponseOutputText)
    entries = part.logprobs
    assert entries is not None
    assert "".join(entry.token for entry in entries).removesuffix("<|im_end|>") == part.text
    assert all(len(entry.top_logprobs) == 2 for entry in entries)
    assert all(entry.logprob <= 0 for entry in entries)


def test_logprobs_of_the_deltas_are_those_of_the_text(api: httpx.Client) -> None:
    events = stream(api, include=[LOGPROBS])
    tokens = [
        entry.token
        for event in events
        if event.type == "response.output_text.delta"
        for entry in event.logprobs
    ]
    [done] = [event for event in events if event.type == "response.output_text.done"]
    assert tokens == [entry.token for entry in done.logprobs]
    usage = last_response(events).usage
    assert usage is not None
    assert len(tokens) == usage.output_tokens


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_nothing_is_stored(api: httpx.Client, method: str) -> None:
    response = api.request(method, f"{PATH}/{ask(api).id}")
    assert response.status_code == 404
    error = error_of(response)
    assert "stores none" in error["message"]
    assert error["code"] == "request_not_found"


def test_a_cancelled_response_says_so(api: httpx.Client) -> None:
    body = {"input": QUESTION, "stream": True, "ignore_eos": True, "max_output_tokens": 1900}
    with api.stream("POST", PATH, json=body) as response:
        lines = response.iter_lines()
        created = next(line for line in lines if line.startswith("data: "))
        name = json.loads(created.removeprefix("data: "))["response"]["id"]
        assert api.post(f"/v1/requests/{name}/cancel").status_code == 200
        last = [line for line in lines if line.startswith("data: ")][-1]
    event = json.loads(last.removeprefix("data: "))
    assert event["type"] == "response.incomplete"
    assert event["response"]["status"] == "cancelled"
    assert event["response"]["output"][0]["status"] == "incomplete"
    assert event["response"]["incomplete_details"] is None


def test_the_request_is_counted_and_documented(api: httpx.Client) -> None:
    ask(api)
    metrics = api.get("/metrics").text
    assert 'handler="/v1/responses",method="POST",status="200"' in metrics
    operations = api.get("/openapi.json").json()["paths"]
    assert operations[PATH].keys() == {"post"}
    assert operations[f"{PATH}/{{response_id}}"].keys() == {"get", "delete"}
    assert "text/event-stream" in operations[PATH]["post"]["responses"]["200"]["content"]


def test_limits_hold_as_elsewhere(make_llm: MakeLLM) -> None:
    settings = ServerSettings(api_keys=("key",), max_body_bytes=200, max_requests_per_client=1)
    with live_server(make_llm(), settings) as running:
        url = running.url + PATH
        assert httpx.post(url, json={"input": "x"}).status_code == 401
        assert httpx.get(f"{url}/resp_1").status_code == 401
        with httpx.Client(headers={"Authorization": "Bearer key"}) as client:
            assert client.post(url, json={"input": "x" * 200}).status_code == 413
            body = {"input": "x", "stream": True, "ignore_eos": True}
            with client.stream("POST", url, json=body) as response:
                assert response.status_code == 200
                refused = client.post(url, json={"input": "x"})
                assert refused.status_code == 429
                assert error_of(refused)["code"] == "too_many_requests"
            running.wait_until_idle()
