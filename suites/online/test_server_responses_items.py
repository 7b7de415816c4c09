"""Items of a response: reasoning, messages and calls in the text of a scripted model."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stagegate import EngineConfig, build_engine
from stagegate.async_llm import AsyncLLM
from stagegate.errors import OutOfMemoryError
from stagegate.server.http.settings import ServerSettings
from suites.engine.fake_executor import FakeExecutor, Script
from suites.online.live_server import LiveServer, live_server
from suites.online.response_stream import (
    check_growth,
    checked_response,
    item_text,
    last_response,
    response_events,
)

pytestmark = pytest.mark.criterion("s0.online")

PATH = "/v1/responses"
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln", "days": 2}}\n</tool_call>'
OTHER = '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
TOOLS: list[Any] = [
    {"type": "function", "name": "weather", "description": "of a city", "parameters": WEATHER},
    {"type": "function", "name": "clock"},
]

Say = Callable[[str], None]


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


@pytest.fixture(scope="module")
def scripted(model_path: Path, script: Script) -> Iterator[LiveServer]:
    config = EngineConfig(model=model_path, kv_capacity_tokens=4096)
    llm = AsyncLLM(build_engine(config, executor=FakeExecutor(script)))
    with live_server(llm, ServerSettings(reasoning=True)) as running:
        yield running


def ask(server: LiveServer, **fields: Any) -> Any:
    """A response; its stream must produce the same items."""
    body = {"input": "What is it like in Köln?"} | fields
    whole = httpx.post(server.url + PATH, json=body)
    assert whole.status_code == 200, whole.text
    response = checked_response(whole.json())
    events = response_events(httpx.post(server.url + PATH, json=body | {"stream": True}))
    check_growth(events)
    streamed = last_response(events)
    assert streamed.status == response.status
    assert streamed.usage is not None
    assert response.usage is not None
    assert streamed.usage.output_tokens == response.usage.output_tokens
    assert streamed.usage.output_tokens_details == response.usage.output_tokens_details
    assert kinds(streamed) == kinds(response)
    return response


def kinds(response: Any) -> list[tuple[str, str, str]]:
    return [(item.type, item.status, item_text(item)) for item in response.output]


def test_calls_are_items_of_their_own(scripted: LiveServer, say: Say) -> None:
    say(f"I will look.\n{CALL}\n{OTHER}")
    response = ask(scripted, tools=TOOLS)
    message, weather, clock = response.output
    assert message.content[0].text.strip() == "I will look."
    assert (weather.type, weather.name, weather.status) == ("function_call", "weather", "completed")
    assert json.loads(weather.arguments) == {"city": "Köln", "days": 2}
    assert (clock.name, json.loads(clock.arguments)) == ("clock", {})
    assert len({weather.call_id, clock.call_id, weather.id, clock.id}) == 4
    assert weather.id.startswith("fc_")
    assert response.status == "completed"


def test_without_tools_a_call_is_text(scripted: LiveServer, say: Say) -> None:
    say(CALL)
    assert kinds(ask(scripted)) == [("message", "completed", CALL)]
    assert kinds(ask(scripted, tools=TOOLS, tool_choice="none")) == [("message", "completed", CALL)]


def test_reasoning_is_an_item_before_the_message(scripted: LiveServer, say: Say) -> None:
    say("<think>\nIt rains\nthere.\n</think>\n\nTake a coat.")
    response = ask(scripted)
    reasoning, message = response.output
    assert reasoning.id.startswith("rs_")
    assert reasoning.summary == []
    assert reasoning.content[0].type == "reasoning_text"
    assert reasoning.content[0].text.strip() == "It rains\nthere."
    assert message.content[0].text == "Take a coat."
    assert response.output_text == "Take a coat."
    usage = response.usage
    assert 0 < usage.output_tokens_details.reasoning_tokens < usage.output_tokens


def test_reasoning_then_a_call(scripted: LiveServer, say: Say) -> None:
    say(f"<think>look</think>{CALL}")
    response = ask(scripted, tools=TOOLS)
    assert [item.type for item in response.output] == ["reasoning", "function_call"]
    assert response.usage.output_tokens_details.reasoning_tokens > 0


def test_reasoning_that_is_cut_off(scripted: LiveServer, say: Say) -> None:
    say("<think>It rains there and")
    response = ask(scripted, max_output_tokens=6)
    assert [(item.type, item.status) for item in response.output] == [("reasoning", "incomplete")]
    assert response.incomplete_details.reason == "max_output_tokens"
    usage = response.usage
    assert usage.output_tokens_details.reasoning_tokens == usage.output_tokens == 6


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", [("message", "completed", "")]),
        ("<think>hm</think>", [("reasoning", "completed", "hm"), ("message", "completed", "")]),
    ],
)
def test_an_answer_that_is_nothing_is_an_empty_message(
    scripted: LiveServer, say: Say, text: str, items: list[tuple[str, str, str]]
) -> None:
    say(text)
    response = ask(scripted)
    assert kinds(response) == items
    assert response.output_text == ""


def test_text_behind_a_call_is_another_message(scripted: LiveServer, say: Say) -> None:
    say(f"{CALL}\nThat is all.")
    response = ask(scripted, tools=TOOLS)
    assert [item.type for item in response.output] == ["function_call", "message"]
    assert response.output_text == "That is all."


def test_logprobs_are_of_the_message_alone(scripted: LiveServer, say: Say) -> None:
    say(f"<think>look</think>Wait.{CALL}")
    fields = {"tools": TOOLS, "include": ["message.output_text.logprobs"]}
    reasoning, message, call = ask(scripted, **fields).output
    assert [item.type for item in (reasoning, call)] == ["reasoning", "function_call"]
    tokens = "".join(entry.token for entry in message.content[0].logprobs)
    assert tokens == message.content[0].text == "Wait."


def test_the_conversation_goes_on_with_items_as_they_came(
    scripted: LiveServer, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(f"<think>look</think>Wait.\n{CALL}")
    response = ask(scripted, tools=TOOLS)
    seen = []
    template = scripted.llm.engine.chat_template

    def render(_: Any, messages: list[Any], **__: Any) -> str:
        seen.extend(messages)
        return "<|im_start|>assistant\n"

    monkeypatch.setattr(type(template), "render", render)
    items = [item.model_dump() for item in response.output]
    call_id = response.output[-1].call_id
    result = {"type": "function_call_output", "call_id": call_id, "output": "rain"}
    question = {"role": "user", "content": "What is it like in Köln?"}
    body = {"input": [question, *items, result], "tools": TOOLS}
    assert httpx.post(scripted.url + PATH, json=body).status_code == 200
    _, turn, output = seen
    assert turn["role"] == "assistant"
    assert turn["content"].strip() == "Wait."
    assert turn["reasoning_content"] == "look"
    [call] = turn["tool_calls"]
    assert call["function"]["arguments"] == {"city": "Köln", "days": 2}
    assert output == {"role": "tool", "tool_call_id": call_id, "content": "rain"}


def test_a_stream_that_fails_says_so_twice(
    scripted: LiveServer, say: Say, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenAI sends both events; the client of each kind knows one of them."""
    say("I will look at the weather there.")
    started = threading.Event()
    executor = scripted.llm.engine.executor
    assert isinstance(executor, FakeExecutor)

    def fail_fifth(number: int) -> None:
        if number > before + 4:
            assert started.wait(5)
            msg = "no memory"
            raise OutOfMemoryError(msg)

    before = executor.num_steps
    monkeypatch.setattr(executor, "before_step", fail_fifth)
    body = {"input": "x", "stream": True}
    with httpx.stream("POST", scripted.url + PATH, json=body) as answer:
        assert answer.status_code == 200  # the first event has come
        started.set()
        *_, error, failed = response_events(answer)
    assert (error.type, error.message) == ("error", "no memory")
    assert error.error == {
        "message": "no memory",
        "type": "server_error",
        "param": None,
        "code": "engine_error",
    }
    assert failed.type == "response.failed"
    response = failed.response
    assert response.status == "failed"
    assert (response.error.code, response.error.message) == ("server_error", "no memory")
    assert [item.status for item in response.output] == ["incomplete"]
    assert "I will look at the weather there.".startswith(response.output_text)
    assert response.output_text
    whole = httpx.post(scripted.url + PATH, json={"input": "x"})
    assert whole.status_code == 500
