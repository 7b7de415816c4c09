"""Bad requests get the error object of the OpenAI API, with a message on how to fix them."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from stagegate.errors import (
    CapacityError,
    EngineDeadError,
    InvalidRequestError,
    OutOfMemoryError,
    QueueFullError,
)
from stagegate.server.http.errors import (
    ModelNotFoundError,
    RequestNotFoundError,
    RequestTimeoutError,
    TooManyRequestsError,
    api_error,
)
from suites.online.event_stream import error_of

USER = {"role": "user", "content": "x"}


@pytest.mark.criterion("s0.online", "s4.online")
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": [{}]}, "messages.0"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages.0"),
        ({"messages": [USER], "temperature": "1"}, "temperature"),
        ({"messages": [USER], "temperature": True}, "temperature"),
        ({"messages": [USER], "temperature": 1e999}, "temperature"),
        ({"messages": [USER], "temperature": 10**400}, "temperature"),
        ({"messages": [USER], "max_tokens": 0}, "max_tokens"),
        ({"messages": [USER], "max_tokens": 1.5}, "max_tokens"),
        ({"messages": [USER], "max_tokens": -(10**30)}, "max_tokens"),
        ({"messages": [USER], "n": 129}, "n"),
        ({"messages": [USER], "top_p": 0}, "top_p"),
        ({"messages": [USER], "seed": 1 << 63}, "seed"),
        ({"messages": [USER], "stop": [""]}, "stop"),
        ({"messages": [USER], "stop": ["x"] * 17}, "stop"),
        ({"messages": [USER], "top_logprobs": 1}, "top_logprobs"),
        ({"messages": [USER], "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"messages": [USER], "logit_bias": {"x": 1}}, "logit_bias"),
        ({"messages": [USER], "logit_bias": {"999999": 1}}, "logit_bias"),
        ({"messages": [USER], "stream_options": {"include_usage": True}}, "stream_options"),
        ({"messages": [USER], "tool_choice": "required"}, "tool_choice"),
        ({"messages": [USER], "response_format": {"type": "xml"}}, "response_format"),
        ({"messages": [USER], "reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"messages": [USER], "store": True}, "store"),
        ({"messages": [USER], "model": 5}, "model"),
    ],
)
def test_a_bad_field_is_named(api: httpx.Client, fields: dict[str, Any], param: str) -> None:
    content = json.dumps(fields).replace("Infinity", "1e999")
    headers = {"Content-Type": "application/json"}
    response = api.post("/v1/chat/completions", content=content, headers=headers)
    assert response.status_code == 400
    error = error_of(response)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


def test_an_unknown_field_is_named(api: httpx.Client) -> None:
    response = api.post("/v1/chat/completions", json={"messages": [USER], "colour": 2})
    assert error_of(response)["message"] == "unknown or unsupported field 'colour', got 2"


def test_many_problems_are_counted_not_listed(api: httpx.Client) -> None:
    fields = {f"x{i}": 1 for i in range(1000)}
    message = error_of(api.post("/v1/chat/completions", json={"messages": [USER]} | fields))
    assert message["message"].endswith("and 997 more")
    assert len(message["message"]) < 300


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b'"text"', "application/json"),
        (b"\xff\xfe{}", "application/json"),
        (b'{"messages": "\xff"}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"messages":' * 20_000, "application/json"),
        (b'{"seed": ' + b"9" * 10_000 + b"}", "application/json"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "application/json"),
        (b'{"\\ud800": 1, "messages": []}', "application/json"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "text/plain"),
        (b"a=b", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_that_is_no_request(api: httpx.Client, content: bytes, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    for path in ("/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"):
        response = api.post(path, content=content, headers=headers)
        assert response.status_code == 400, (path, response.text)
        error_of(response)


def test_text_without_utf8_form_in_a_schema_or_a_tool(api: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    for extra in (
        b'"tools": [{"type": "function", "function": {"name": "f", "description": "\\ud800"}}]',
        b'"tools": [{"type": "function", "function": {"name": "f", "parameters": {"\\ud800": 1}}}]',
        b'"user": "\\ud800"',
    ):
        content = (
            b'{"max_tokens": 1, "messages": [{"role": "user", "content": "x"}], ' + extra + b"}"
        )
        response = api.post("/v1/chat/completions", content=content, headers=headers)
        # The template of a model may leave tools out.
        assert response.status_code in {200, 400}


def test_unknown_paths_and_methods(api: httpx.Client) -> None:
    missing = api.get("/v2/models")
    assert missing.status_code == 404
    assert error_of(missing)["message"] == "no such path"
    wrong = api.get("/v1/chat/completions")
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "POST"
    error_of(wrong)


def test_arguments_of_called_tools_must_be_objects(api: httpx.Client) -> None:
    for arguments in ("[]", "5", "[" * 50_000):
        call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
        message = {"role": "assistant", "tool_calls": [call]}
        response = api.post("/v1/chat/completions", json={"messages": [USER, message]})
        assert response.status_code == 400
        assert "messages.1.tool_calls.0.function.arguments" in error_of(response)["message"]


def test_a_bad_request_id_is_refused(api: httpx.Client) -> None:
    response = api.post("/v1/completions", json={"prompt": "x"}, headers={"X-Request-Id": "a b"})
    assert response.status_code == 400
    assert error_of(response)["param"] == "X-Request-Id"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidRequestError("x", parameter="p"), 400, None),
        (CapacityError("x", parameter="p"), 400, "context_length_exceeded"),
        (ModelNotFoundError("x", parameter="p"), 404, "model_not_found"),
        (RequestNotFoundError("x", parameter="p"), 404, "request_not_found"),
        (QueueFullError("x"), 429, "queue_full"),
        (TooManyRequestsError("x"), 429, "too_many_requests"),
        (OutOfMemoryError("x"), 500, "engine_error"),
        (EngineDeadError("x"), 503, "engine_dead"),
        (RequestTimeoutError("x"), 504, "timeout"),
        (KeyError("secret"), 500, None),
    ],
)
def test_each_exception_has_its_status(error: Exception, status: int, code: str | None) -> None:
    answer = api_error(error)
    assert (answer.status, answer.code) == (status, code)
    assert (answer.param == "p") == isinstance(error, InvalidRequestError)
    assert ("Retry-After" in answer.headers) == (status == 429)
    assert "secret" not in answer.message
