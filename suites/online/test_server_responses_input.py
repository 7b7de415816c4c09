"""Conversion of requests to /v1/responses to chat completions."""

from __future__ import annotations

from typing import Any

import pytest

from stagegate.server.responses_api.chat_request import chat_request
from stagegate.server.responses_api.conversation import chat_messages
from stagegate.server.responses_api.request import ResponsesRequest

pytestmark = pytest.mark.criterion("s0.online")

USER = {"role": "user", "content": "a"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"x": 1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "rain"}
CLOCK = {"type": "function", "name": "clock"}
WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"default": None}}},
    "strict": True,
}
CALLED = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}


def message(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": list(parts), "id": "m", "status": "x"}


def text(content: str, kind: str = "output_text") -> dict[str, Any]:
    return {"type": kind, "text": content, "annotations": [], "logprobs": None}


def reasoning(**fields: Any) -> dict[str, Any]:
    return {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "..."} | fields


THOUGHT = reasoning(content=[{"type": "reasoning_text", "text": "hm"}])


def request(**fields: Any) -> ResponsesRequest:
    body: ResponsesRequest = ResponsesRequest.model_validate({"input": "a"} | fields)
    return body


@pytest.mark.parametrize(
    ("items", "messages"),
    [
        ("a", [USER]),
        ([USER], [USER]),
        ([USER | {"type": None, "phase": "x"}], [USER]),
        (
            [message("developer", text("b", "input_text")), USER],
            [{"role": "developer", "content": [{"type": "text", "text": "b"}]}, USER],
        ),
        (
            [message("user", text("b", "input_text"), text("c", "input_text"))],
            [{"role": "user", "content": [{"type": "text", "text": t} for t in "bc"]}],
        ),
        (
            [message("assistant", {"type": "refusal", "refusal": "no"})],
            [{"role": "assistant", "content": [{"type": "text", "text": "no"}]}],
        ),
        (
            [THOUGHT, message("assistant", text("b")), CALL, CALL | {"call_id": "d"}, OUTPUT],
            [
                {
                    "role": "assistant",
                    "reasoning_content": "hm",
                    "content": [{"type": "text", "text": "b"}],
                    "tool_calls": [CALLED, CALLED | {"id": "d"}],
                },
                {"role": "tool", "tool_call_id": "c", "content": "rain"},
            ],
        ),
        (
            [CALL, OUTPUT | {"output": [text("b", "input_text")]}, CALL, OUTPUT],
            [
                {"role": "assistant", "tool_calls": [CALLED]},
                {
                    "role": "tool",
                    "tool_call_id": "c",
                    "content": [{"type": "text", "text": "b"}],
                },
                {"role": "assistant", "tool_calls": [CALLED]},
                {"role": "tool", "tool_call_id": "c", "content": "rain"},
            ],
        ),
        (
            [message("assistant", text("b")), message("assistant", text("c"))],
            [{"role": "assistant", "content": [{"type": "text", "text": t}]} for t in "bc"],
        ),
        (
            [CALL, message("assistant", text("b"))],
            [
                {"role": "assistant", "tool_calls": [CALLED]},
                {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
            ],
        ),
        (
            [message("assistant", text("b")), THOUGHT, CALL],
            [
                {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
                {"role": "assistant", "reasoning_content": "hm", "tool_calls": [CALLED]},
            ],
        ),
        (
            [reasoning(summary=[{"type": "summary_text", "text": t} for t in "xy"]), THOUGHT],
            [{"role": "assistant", "reasoning_content": "x\ny\nhm"}],
        ),
        (
            [reasoning(), message("assistant", text("b"))],
            [{"role": "assistant", "content": [{"type": "text", "text": "b"}]}],
        ),
    ],
)
def test_items_as_messages(items: Any, messages: list[Any]) -> None:
    assert chat_messages(None, request(input=items).input) == messages
    system = {"role": "system", "content": "Be short."}
    assert chat_messages("Be short.", request(input=items).input) == [system, *messages]


@pytest.mark.parametrize(
    ("fields", "chat"),
    [
        ({}, {}),
        ({"max_output_tokens": 5}, {"max_completion_tokens": 5}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"temperature": 0.5, "seed": 3, "top_k": 4}, {"temperature": 0.5, "seed": 3, "top_k": 4}),
        (
            {"include": ["message.output_text.logprobs"], "top_logprobs": 3},
            {"logprobs": True, "top_logprobs": 3},
        ),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format.type": "json_object"}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"a": None}}}},
            {"response_format.json_schema.schema_": {"a": None}},
        ),
        ({"tools": [CLOCK], "tool_choice": "required"}, {"tool_choice": "required"}),
        ({"tools": [CLOCK], "parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        (
            {"tools": [CLOCK, WEATHER], "tool_choice": CLOCK},
            {"tool_choice.function.name": "clock"},
        ),
        ({"tools": [], "tool_choice": "auto"}, {"tools": None, "tool_choice": None}),
        (
            {"tools": [{"type": "web_search"}, {"type": "namespace", "name": "n", "tools": []}]},
            {"tools": None, "tool_choice": None},
        ),
        (
            {"tools": [WEATHER]},
            {
                "tools.0.function.name": "weather",
                "tools.0.function.parameters": WEATHER["parameters"],
                "tools.0.function.strict": True,
            },
        ),
        (
            {
                "tools": [CLOCK, WEATHER],
                "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [WEATHER]},
            },
            {"tool_choice": "required", "tools.0.function.name": "weather", "tools.1": None},
        ),
    ],
)
def test_the_chat_completion_that_stands_for_a_request(
    fields: dict[str, Any], chat: dict[str, Any]
) -> None:
    built = chat_request(request(**fields))
    for path, expected in chat.items():
        assert _at(built, path) == expected, path


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        if isinstance(value, list):
            value = value[int(name)] if int(name) < len(value) else None
        else:
            value = getattr(value, name)
    return value
