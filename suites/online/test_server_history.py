"""Messages that clients send back: fields with a meaning are read or refused, others ignored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessage
from pydantic import BaseModel

from stagegate import EngineConfig, build_engine
from stagegate.async_llm import AsyncLLM
from suites.engine.fake_executor import FakeExecutor, Script
from suites.online.conftest import Say
from suites.online.edited_model import with_template
from suites.online.event_stream import error_of
from suites.online.live_server import MODEL, LiveServer, live_server

QUESTION: dict[str, Any] = {"role": "user", "content": "What is it like?"}
ARGUMENTS = '{"city": "Köln"}'
CALL = f'<tool_call>\n{{"name": "Weather", "arguments": {ARGUMENTS}}}\n</tool_call>'
RESULT = {"role": "tool", "tool_call_id": "a", "content": "rain"}
# Shows what a template is given.
TEMPLATE = "{% for m in messages %}{{ m | tojson }}\n{% endfor %}{{ tools | tojson }}"


class Weather(BaseModel):
    """The weather of a city."""

    city: str


class Answer(BaseModel):
    answer: str


@pytest.fixture(scope="module")
def scripted(
    model_path: Path, script: Script, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    model = with_template(model_path, tmp_path_factory.mktemp("model"), TEMPLATE)
    config = EngineConfig(model=model, kv_capacity_tokens=4096)
    with live_server(AsyncLLM(build_engine(config, executor=FakeExecutor(script)))) as running:
        yield running


@pytest.fixture
def client(scripted: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{scripted.url}/v1", api_key="any", max_retries=0) as opened:
        yield opened


def shown(server: LiveServer, *messages: Any, **fields: Any) -> list[Any]:
    """The messages that the template receives, and the tools at the end."""
    response = httpx.post(f"{server.url}/tokenize", json={"messages": list(messages)} | fields)
    assert response.status_code == 200, response.text
    tokens = response.json()["tokens"]
    prompt = httpx.post(f"{server.url}/detokenize", json={"tokens": tokens}).json()["prompt"]
    return [json.loads(line) for line in prompt.splitlines()]


def refusal(server: LiveServer, *messages: Any, **fields: Any) -> dict[str, Any]:
    body = {"messages": list(messages)} | fields
    response = httpx.post(f"{server.url}/v1/chat/completions", json=body)
    assert response.status_code == 400
    return error_of(response)


def call(**more: Any) -> dict[str, Any]:
    function = {"name": "Weather", "arguments": ARGUMENTS}
    return {"id": "a", "type": "function", "function": function} | more


def as_shown(call_id: str = "a", **more: Any) -> dict[str, Any]:
    function = {"name": "Weather", "arguments": {"city": "Köln"}}
    calls = [{"id": call_id, "type": "function", "function": function}]
    return {"role": "assistant", "content": None, "tool_calls": calls} | more


def test_what_the_official_client_made_comes_back(
    scripted: LiveServer, client: openai.OpenAI, say: Say
) -> None:
    say(CALL)
    tools: list[Any] = [openai.pydantic_function_tool(Weather)]
    asked: dict[str, Any] = {"model": MODEL, "messages": [QUESTION], "tools": tools}
    made = [client.chat.completions.create(**asked).choices[0].message]
    made.append(client.chat.completions.parse(**asked).choices[0].message)
    with client.chat.completions.stream(**asked) as stream:
        made.append(stream.get_final_completion().choices[0].message)
    for message in made:
        assert message.tool_calls is not None
        [called] = message.tool_calls
        assert called.type == "function"
        assert called.function.arguments == ARGUMENTS
        result = RESULT | {"tool_call_id": called.id}
        say("Rain.")
        follow_up = client.chat.completions.create(
            model=MODEL,
            messages=[QUESTION, message, result],  # type: ignore[list-item]
            tools=tools,
        )
        assert follow_up.choices[0].message.content == "Rain."
        for dumped in (message.model_dump(), message.model_dump(exclude_unset=True)):
            assert shown(scripted, QUESTION, dumped, result)[1] == as_shown(called.id)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of the client
def test_a_parsed_answer_comes_back(scripted: LiveServer, client: openai.OpenAI, say: Say) -> None:
    say('{"answer": "rain"}')
    asked: dict[str, Any] = {"model": MODEL, "messages": [QUESTION], "response_format": Answer}
    made = [client.chat.completions.parse(**asked).choices[0].message]
    with client.chat.completions.stream(**asked) as stream:
        made.append(stream.get_final_completion().choices[0].message)
    for message in made:
        assert message.parsed == Answer(answer="rain")
        messages: list[Any] = [QUESTION, message, QUESTION]
        client.chat.completions.create(model=MODEL, messages=messages)
        assert shown(scripted, QUESTION, message.model_dump())[1] == {
            "role": "assistant",
            "content": '{"answer": "rain"}',
        }


def test_deltas_put_together_come_back(
    scripted: LiveServer, client: openai.OpenAI, say: Say
) -> None:
    """Calls then have the index of streamed calls."""
    say(CALL)
    calls: dict[int, dict[str, Any]] = {}
    tools = [openai.pydantic_function_tool(Weather)]
    asked: dict[str, Any] = {"messages": [QUESTION], "tools": tools}
    for chunk in client.chat.completions.create(model=MODEL, stream=True, **asked):
        for delta in chunk.choices[0].delta.tool_calls or ():
            if delta.id is not None:
                calls[delta.index] = delta.model_dump()
            else:
                calls[delta.index]["function"]["arguments"] += delta.function.arguments
    assert calls[0]["index"] == 0
    message = {"role": "assistant", "content": "", "tool_calls": list(calls.values())}
    assert shown(scripted, message) == [as_shown(calls[0]["id"], content=""), None]


def test_a_call_that_was_cut_off_comes_back(
    scripted: LiveServer, client: openai.OpenAI, say: Say
) -> None:
    say(CALL[: CALL.index("öln")])
    tools = [openai.pydantic_function_tool(Weather)]
    asked: dict[str, Any] = {"messages": [QUESTION], "tools": tools}
    answer = client.chat.completions.create(model=MODEL, **asked)
    dumped = answer.choices[0].message.model_dump()
    assert dumped["tool_calls"][0]["function"]["arguments"] == '{"city": "K'
    [message, _] = shown(scripted, dumped)
    assert message["tool_calls"][0]["function"]["arguments"] == '{"city": "K'


def test_an_answer_of_openai_comes_back(scripted: LiveServer) -> None:
    message = ChatCompletionMessage.model_validate(
        {
            "role": "assistant",
            "content": "Rain.",
            "refusal": None,
            "annotations": [],
            "audio": None,
            "function_call": None,
            "tool_calls": None,
        }
    )
    assert shown(scripted, message.model_dump())[0] == {"role": "assistant", "content": "Rain."}


@pytest.mark.parametrize(
    ("message", "read"),
    [
        ({"role": "user", "content": "x", "timestamp": 5}, {"role": "user", "content": "x"}),
        (
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
                    {"type": "text", "text": "y", "annotations": []},
                ],
            },
            {"role": "user", "content": "x\ny"},
        ),
        ({"role": "system", "content": "x", "id": "m1"}, {"role": "system", "content": "x"}),
        (RESULT | {"is_error": False, "status": None}, RESULT),
        (
            {
                "role": "assistant",
                "content": "x",
                "parsed": {"a": 1},
                "annotations": [{"type": "u"}],
            },
            {"role": "assistant", "content": "x"},
        ),
        (
            {
                "role": "assistant",
                "content": "x",
                "reasoning": "y",
                "reasoning_details": [{"a": 1}],
            },
            {"role": "assistant", "content": "x", "reasoning_content": "y"},
        ),
        (
            {"role": "assistant", "content": "x", "reasoning": "y", "reasoning_content": "z"},
            {"role": "assistant", "content": "x", "reasoning_content": "z"},
        ),
        (
            {"role": "assistant", "content": None, "refusal": "No."},
            {"role": "assistant", "content": "No."},
        ),
        (
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "x"},
                    {"type": "refusal", "refusal": "No."},
                ],
            },
            {"role": "assistant", "content": "x\nNo."},
        ),
        ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
        (
            {"role": "assistant", "content": None, "tool_calls": [call(index=0, custom=None)]},
            as_shown(),
        ),
        ({"role": "assistant", "tool_calls": [call(type=None)]}, as_shown()),
        (
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    call(
                        function={
                            "name": "Weather",
                            "arguments": ARGUMENTS,
                            "parsed_arguments": {"city": "Köln"},
                        }
                    )
                ],
            },
            as_shown(content=""),
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [call(function={"name": "Weather", "arguments": {"city": "Köln"}})],
            },
            as_shown(),
        ),
    ],
)
def test_fields_without_a_meaning_are_ignored(
    scripted: LiveServer, message: dict[str, Any], read: dict[str, Any]
) -> None:
    assert shown(scripted, message) == [read, None]


def test_more_fields_of_tools_are_ignored(scripted: LiveServer) -> None:
    function = {"name": "Weather", "parameters": {"type": "object"}}
    plain = {"type": "function", "function": function}
    more = {
        "type": "function",
        "function": function | {"annotations": {"readOnlyHint": True}},
        "cache_control": {"type": "ephemeral"},
    }
    assert shown(scripted, QUESTION, tools=[more])[-1] == [plain]


def part(**fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": "x"}, fields]}


@pytest.mark.parametrize(
    ("message", "param", "words"),
    [
        *(
            (part(type=kind, **{kind: {}}), "messages.0.content.1", f"type text, not {kind}")
            for kind in ("image_url", "input_audio", "file", "refusal", "input_text")
        ),
        (part(text="x"), "messages.0.content.1", "must be of type text"),
        (part(type=5), "messages.0.content.1", "must be of type text, not 5"),
        (part(type="text"), "messages.0.content.1.text", "messages.0.content.1.text"),
        ({"role": "user", "content": ["x"]}, "messages.0.content.0", "must be an object"),
        (
            {"role": "user", "content": {"type": "text"}},
            "messages.0.content",
            "must be text or a list",
        ),
        ({"role": "user", "content": None}, "messages.0.content", "must be text or a list"),
        (
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}]},
            "messages.0.content.0",
            "must be of type text or refusal, not thinking",
        ),
        (
            {"role": "function", "name": "f", "content": "x"},
            "messages.0",
            "'system', 'developer', 'user', 'assistant', 'tool'",
        ),
        ({"content": "x"}, "messages.0", "role"),
        (
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            "messages.0.function_call",
            "must be null: it is not supported",
        ),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages.0.audio", "must be null"),
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {}}]},
            "messages.0.tool_calls.0",
            "must be of type function, not custom",
        ),
        ({"role": "assistant", "refusal": 5}, "messages.0.refusal", "messages.0.refusal"),
        ({"role": "tool", "content": "x"}, "messages.0.tool_call_id", "messages.0.tool_call_id"),
    ],
)
def test_what_has_a_meaning_and_no_support_is_refused_by_name(
    scripted: LiveServer, message: dict[str, Any], param: str, words: str
) -> None:
    error = refusal(scripted, message)
    assert error["param"] == param
    assert error["message"].startswith(param)
    assert words in error["message"]
    assert "; " not in error["message"]  # one problem, not one a type


def test_text_that_utf8_has_no_form_for_is_refused(scripted: LiveServer) -> None:
    arguments = call(function={"name": "f", "arguments": '{"x": "\\ud800"}'})
    refusal(scripted, {"role": "assistant", "content": None, "tool_calls": [arguments]})
