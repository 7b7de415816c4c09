"""Tool calls and reasoning in the text of a scripted model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from stagegate.server.openai.responses import ChatCompletion, ChatCompletionChunk
from suites.online.conftest import Say
from suites.online.event_stream import chunks, error_of
from suites.online.live_server import MODEL, LiveServer

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln", "days": 2}}\n</tool_call>'
OTHER = '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {"name": "weather", "description": "of a city", "parameters": WEATHER},
    },
    {"type": "function", "function": {"name": "clock"}},
]
QUESTION: list[Any] = [{"role": "user", "content": "What is it like in Köln?"}]


@pytest.fixture
def client(scripted: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{scripted.url}/v1", api_key="any", max_retries=0) as opened:
        yield opened


def ask(server: LiveServer, **fields: Any) -> ChatCompletion:
    body = {"messages": QUESTION} | fields
    response = httpx.post(f"{server.url}/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return ChatCompletion.model_validate_json(response.content, strict=True)


def ask_for_chunks(server: LiveServer, **fields: Any) -> list[ChatCompletionChunk]:
    body = {"messages": QUESTION, "stream": True} | fields
    response = httpx.post(f"{server.url}/v1/chat/completions", json=body)
    return list(chunks(response, ChatCompletionChunk))


@pytest.mark.criterion("s0.online")
def test_the_official_client_gets_calls(client: openai.OpenAI, say: Say) -> None:
    say(f"I will look.\n{CALL}")
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, tools=TOOLS)
    [choice] = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.content or "").strip() == "I will look."
    assert choice.message.tool_calls is not None
    [call] = choice.message.tool_calls
    assert call.type == "function"
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"city": "Köln", "days": 2}
    # The answer and the result of the call go back as they are.
    say("Rain.")
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    follow_up = client.chat.completions.create(
        model=MODEL,
        messages=[*QUESTION, choice.message, result],  # type: ignore[list-item]
        tools=TOOLS,
    )
    assert follow_up.choices[0].message.content == "Rain."
    assert follow_up.choices[0].finish_reason == "stop"


@pytest.mark.criterion("s0.online")
def test_the_official_client_streams_calls(client: openai.OpenAI, say: Say) -> None:
    say(f"{CALL}\n{OTHER}")
    with client.chat.completions.stream(model=MODEL, messages=QUESTION, tools=TOOLS) as stream:
        for _ in stream:
            pass
        [choice] = stream.get_final_completion().choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    weather, clock = choice.message.tool_calls
    assert (weather.function.name, clock.function.name) == ("weather", "clock")
    assert json.loads(weather.function.arguments) == {"city": "Köln", "days": 2}
    assert json.loads(clock.function.arguments) == {}
    assert weather.id != clock.id


def test_a_call_streams_its_name_once_and_its_arguments_as_they_come(
    scripted: LiveServer, say: Say
) -> None:
    say(f"{CALL}\n{OTHER}")
    deltas = [
        call
        for chunk in ask_for_chunks(scripted, tools=TOOLS)
        for choice in chunk.choices
        for call in choice.delta.tool_calls or ()
    ]
    assert [delta.index for delta in deltas] == sorted(delta.index for delta in deltas)
    pieces: list[list[str | None]] = []
    for index in (0, 1):
        first, *rest = [delta for delta in deltas if delta.index == index]
        assert (first.type, first.id is not None) == ("function", True)
        assert first.function.name is not None
        assert first.function.arguments == ""
        assert all(delta.id is delta.function.name is delta.type is None for delta in rest)
        pieces.append([delta.function.arguments for delta in rest])
    assert ["".join(map(str, arguments)) for arguments in pieces] == [
        '{"city": "Köln", "days": 2}',
        "{}",
    ]


def test_one_call_where_calls_may_not_be_parallel(scripted: LiveServer, say: Say) -> None:
    say(f"{CALL}\n{OTHER}")
    [choice] = ask(scripted, tools=TOOLS, parallel_tool_calls=False).choices
    assert not choice.message.content
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    assert [call.function.name for call in choice.message.tool_calls] == ["weather"]


@pytest.mark.parametrize("fields", [{}, {"tools": TOOLS, "tool_choice": "none"}])
def test_without_tools_a_call_is_text(
    scripted: LiveServer, say: Say, fields: dict[str, Any]
) -> None:
    say(CALL)
    [choice] = ask(scripted, **fields).choices
    assert choice.message.content == CALL
    assert choice.finish_reason == "stop"


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": "auto"},
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}},
        {"tools": TOOLS, "tool_choice": "sometimes"},
    ],
)
def test_choices_the_tools_do_not_allow(scripted: LiveServer, fields: dict[str, Any]) -> None:
    response = httpx.post(
        f"{scripted.url}/v1/chat/completions", json={"messages": QUESTION} | fields
    )
    assert response.status_code == 400
    assert str(error_of(response)["param"]).startswith("tool_choice")
