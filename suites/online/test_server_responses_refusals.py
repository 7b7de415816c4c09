"""Errors of /v1/responses, which name the field and the reason."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from suites.online.event_stream import error_of

pytestmark = pytest.mark.criterion("s0.online", "s4.online")

PATH = "/v1/responses"
USER = {"role": "user", "content": "a"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"x": 1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "rain"}
CLOCK = {"type": "function", "name": "clock"}
WEATHER = {"type": "function", "name": "weather"}


def content(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("fields", "parameter", "says"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "nothing is stored"),
        ({"conversation": {"id": "conv_1"}}, "conversation", "nothing is stored"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "nothing is stored"),
        ({"background": True}, "background", "must be false: nothing is stored"),
        ({"background": 0}, "background", "must be false"),
        ({"truncation": "auto"}, "truncation", "leave items out"),
        ({"max_tool_calls": 3}, "max_tool_calls", "built-in tools"),
        ({"input": []}, "input", "at least 1"),
        ({"input": None}, "input", "input"),
        ({"tools": [CLOCK | {"name": f"clock-{i}"} for i in range(129)]}, "tools", "128"),
        ({"input": [5]}, "input.0", "object"),
        ({"input": [{"content": "x"}]}, "input.0", "of type message"),
        ({"input": [USER, {"type": "item_reference", "id": "msg_1"}]}, "input.1", "stored"),
        ({"input": [{"type": "computer_call"}]}, "input.0", "not computer_call"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role", "'user'"),
        (
            {"input": [content({"type": "input_image", "image_url": "data:x"})]},
            *("input.0.content.0", "not input_image: the models"),
        ),
        (
            {
                "input": [
                    content(
                        {"type": "input_text", "text": "b"}, {"type": "input_file", "file_id": "f"}
                    )
                ]
            },
            *("input.0.content.1", "not input_file"),
        ),
        (
            {"input": [CALL, OUTPUT | {"output": [{"type": "input_image"}]}]},
            *("input.1.output.0", "not input_image"),
        ),
        ({"input": [CALL | {"arguments": "x"}]}, "input.0.arguments", "JSON object"),
        ({"input": [USER, CALL | {"arguments": "[]"}]}, "input.1.arguments", "object"),
        ({"input": [OUTPUT]}, "input.0.call_id", "no function_call 'c'"),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice", "tools"),
        ({"tools": [CLOCK, {"type": "local_shell"}]}, "tools.1", "not local_shell"),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools.0", "one string parameter"),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools.0.name", "name"),
        (
            {"tools": [CLOCK], "tool_choice": {"type": "file_search"}},
            "tool_choice",
            "not file_search",
        ),
        ({"tools": [CLOCK], "tool_choice": "sometimes"}, "tool_choice", "'none'"),
        ({"tool_choice": "required"}, "tool_choice", "tools"),
        ({"tools": [CLOCK], "tool_choice": WEATHER}, "tool_choice", "weather"),
        (
            {
                "tools": [CLOCK],
                "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [WEATHER]},
            },
            *("tool_choice", "weather"),
        ),
        ({"text": {"format": {"type": "grammar"}}}, "text.format", "not grammar"),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": 5}}}},
            *("text.format", "text.format: "),
        ),
        ({"top_logprobs": 2}, "top_logprobs", "include"),
        ({"include": ["everything"]}, "include.0", "reasoning.encrypted_content"),
        ({"reasoning": {"effort": "enormous"}}, "reasoning.effort", "low"),
        ({"max_output_tokens": 0}, "max_output_tokens", "max_output_tokens"),
        ({"max_tokens": 5}, "max_tokens", "unknown or unsupported"),
        ({"n": 2}, "n", "unknown or unsupported"),
        ({"messages": [USER]}, "messages", "unknown or unsupported"),
        ({"user": "\ud800"}, "user", "no form in JSON"),
        ({"metadata": {"\ud800": "x"}}, "metadata", "no form in JSON"),
        ({"input": "\ud800"}, "input", "UTF-8"),
        (
            {"tools": [CLOCK | {"parameters": {"x": "\ud800"}}], "tool_choice": "none"},
            *("tools", "no form in JSON"),
        ),
    ],
)
def test_what_is_refused_says_where_and_why(
    api: httpx.Client, fields: dict[str, Any], parameter: str, says: str
) -> None:
    body = json.dumps({"input": "a", "max_output_tokens": 1} | fields)
    response = api.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    error = error_of(response)
    assert error["param"] == parameter
    assert says in error["message"]


def test_a_prompt_that_is_too_long(api: httpx.Client) -> None:
    response = api.post(PATH, json={"input": "word " * 5000})
    assert response.status_code == 400
    assert error_of(response)["code"] == "context_length_exceeded"


@pytest.mark.parametrize("levels", [10, 100, 200, 250, 300, 900])
def test_a_deeply_nested_schema(api: httpx.Client, levels: int) -> None:
    """It is returned in the answer or refused; serialising the answer never fails."""
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"x": schema}
    tools = [CLOCK | {"parameters": schema}]
    body = {"input": "a", "max_output_tokens": 1, "tools": tools, "tool_choice": "none"}
    for streamed in (False, True):
        response = api.post(PATH, json=body | {"stream": streamed})
        assert response.status_code in {200, 400}, response.text
        if response.status_code == 400:
            assert str(error_of(response)["param"]).startswith("tools")
        elif streamed:
            assert "event: response.incomplete" in response.text
        else:
            assert response.json()["tools"][0]["parameters"] == schema
