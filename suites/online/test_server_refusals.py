"""An error message is a sentence: the field, what it must be, and the value received."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from stagegate.server.http.refusals import refusal
from suites.online.event_stream import error_of

USER = {"role": "user", "content": "x"}
FUNCTION = {"type": "function", "function": {"name": "f"}}

CHAT: list[tuple[dict[str, Any], str]] = [
    ({"top_p": 0}, "top_p must be more than 0, got 0"),
    ({"top_p": 1.5}, "top_p must be at most 1, got 1.5"),
    ({"temperature": -1}, "temperature must be at least 0, got -1"),
    ({"temperature": "1"}, 'temperature must be a number, got "1"'),
    ({"temperature": True}, "temperature must be a number, got true"),
    ({"repetition_penalty": 0}, "repetition_penalty must be at least 0.01, got 0"),
    ({"min_p": 2}, "min_p must be at most 1, got 2"),
    ({"top_k": -2}, "top_k must be at least -1, got -2"),
    ({"n": 0}, "n must be at least 1, got 0"),
    ({"n": 129}, "n must be at most 128, got 129"),
    ({"max_tokens": 1.5}, "max_tokens must be a whole number, got 1.5"),
    ({"max_tokens": -1}, "max_tokens must be at least 0, got -1"),
    ({"seed": 1 << 63}, f"seed must be at most {(1 << 63) - 1}, got {1 << 63}"),
    ({"stream": "yes"}, 'stream must be true or false, got "yes"'),
    ({"model": 5}, "model must be text, got 5"),
    ({"stop": 5}, "stop must be text or a list, got 5"),
    ({"stop": ["a", 5]}, "stop.1 must be text, got 5"),
    ({"stop_token_ids": ["a"]}, 'stop_token_ids.0 must be a whole number, got "a"'),
    ({"logit_bias": {"5": 1000}}, "logit_bias.5 must be at most 100, got 1000"),
    ({"logit_bias": []}, "logit_bias must be an object, got []"),
    ({"top_logprobs": 21}, "top_logprobs must be at most 20, got 21"),
    ({"stream_options": {"include_usage": 1}},
     "stream_options.include_usage must be true or false, got 1"),
    ({"tool_choice": "sometimes"},
     "tool_choice must be 'none', 'auto', 'required' or an object, got \"sometimes\""),
    ({"tool_choice": {"type": "function"}}, "tool_choice.function is missing"),
    ({"tools": [FUNCTION, {"type": "retrieval", "function": {"name": "f"}}]},
     "tools.1.type must be 'function', got \"retrieval\""),
    ({"response_format": {"type": "xml"}},
     "response_format.type must be one of 'text', 'json_object', 'json_schema', got \"xml\""),
    ({"response_format": {}}, "response_format.type is missing, got {}"),
    ({"response_format": "json"}, 'response_format must be an object, got "json"'),
    ({"reasoning_effort": "extreme"},
     "reasoning_effort must be 'none', 'minimal', 'low', 'medium', 'high', 'xhigh' or 'max', "
     'got "extreme"'),
    ({"messages": []}, "messages must be a list with at least 1 item, got []"),
    ({"messages": "x"}, 'messages must be a list, got "x"'),
    ({"messages": [{}]}, "messages.0.role is missing, got {}"),
    ({"messages": [{"role": "user"}]}, "messages.0.content is missing"),
    ({"messages": [{"role": "user", "content": 5}]},
     "messages.0.content must be text or a list, got 5"),
    ({"colour": {"of": [1]}}, "unknown or unsupported field 'colour', got {\"of\": [1]}"),
    ({"temperature": -1, "n": 0},
     "temperature must be at least 0, got -1; n must be at least 1, got 0"),
]  # fmt: skip
PROMPTS: list[tuple[Any, str]] = [
    (5, "prompt must be text or a list, got 5"),
    (None, "prompt must be text or a list, got null"),
    ({}, "prompt must be text or a list, got {}"),
    ([], "prompt must be text or a list with at least 1 item, got []"),
    ([1.5], "prompt.0 must be text, a whole number or a list, got 1.5"),
    (["a", 5], "prompt.1 must be text, got 5"),
    ([1, "a"], 'prompt.1 must be a whole number, got "a"'),
    ([[1], ["a"]], 'prompt.1.0 must be a whole number, got "a"'),
]
# What pydantic says of itself.
JARGON = (
    "Input should",
    "valid",
    "instance",
    "int64",
    "function-before",
    "[type=",
    "str]",
    "float",
)


def message_of(api: httpx.Client, path: str, body: dict[str, Any]) -> str:
    response = api.post(path, json=body)
    assert response.status_code == 400
    message: str = error_of(response)["message"]
    assert not any(word in message for word in JARGON), message
    return message


@pytest.mark.criterion("s0.online", "s4.online")
@pytest.mark.parametrize(("fields", "message"), CHAT)
def test_a_bad_chat_field(api: httpx.Client, fields: dict[str, Any], message: str) -> None:
    assert message_of(api, "/v1/chat/completions", {"messages": [USER]} | fields) == message


@pytest.mark.parametrize(("prompt", "message"), PROMPTS)
def test_a_bad_prompt(api: httpx.Client, prompt: Any, message: str) -> None:
    assert message_of(api, "/v1/completions", {"prompt": prompt}) == message


def test_a_top_p_too_small_for_the_core_says_what_to_use(api: httpx.Client) -> None:
    message = message_of(api, "/v1/completions", {"prompt": "x", "top_p": 1e-60})
    assert (
        message
        == "top_p must be a number above 0 and at most 1; use temperature=0 for greedy, got 1e-60"
    )


def test_a_long_value_is_quoted_in_part(api: httpx.Client) -> None:
    for value in ("x" * 100_000, ["x"] * 100_000, [[[[["x"]]]]] * 900, {"x" * 5000: "x" * 5000}):
        message = message_of(api, "/v1/completions", {"prompt": "x", "temperature": value})
        assert message.startswith("temperature must be a number, got ")
        assert message.endswith("...")
        assert len(message) < 110


def test_very_many_problems_take_little_time() -> None:
    body = {f"x{i}": i for i in range(50_000)}
    errors = [{"loc": ("body", name), "type": "extra_forbidden"} for name in body]
    started = time.perf_counter()
    message, field = refusal(errors, body)
    assert time.perf_counter() - started < 2  # quadratic: minutes
    assert message.endswith("; and 49997 more")
    assert field == "x0"


def test_a_value_error_of_a_validator_keeps_its_words() -> None:
    error = {"loc": ("body", "n"), "type": "value_error", "msg": "Value error, must be odd"}
    assert refusal([error], {"n": 2}) == ("n must be odd, got 2", "n")
