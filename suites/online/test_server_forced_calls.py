"""Tools and a response format in one request, with reasoning: a random model under a grammar, and
scripted texts of a model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stagegate import EngineConfig, build_engine
from stagegate.async_llm import AsyncLLM
from stagegate.server.http.settings import ServerSettings
from stagegate.server.openai.responses import ChatCompletion, ChatCompletionChunk
from stagegate.text.tokenizer import Tokenizer
from suites.engine.fake_executor import FakeExecutor, Script
from suites.online.event_stream import chunks, error_of
from suites.online.live_server import LiveServer, live_server

pytestmark = pytest.mark.criterion("s0.online", "s4.online")

QUESTION: list[Any] = [{"role": "user", "content": "Who wrote this book?"}]
AGE: dict[str, Any] = {"type": "integer", "minimum": 7, "maximum": 9}
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"enum": ["Alice", "Dinah"]}, "age": {"$ref": "#/definitions/Age"}},
    "required": ["name", "age"],
    "definitions": {"Age": AGE},
}


def function(name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    stated = {} if parameters is None else {"parameters": parameters}
    return {"type": "function", "function": {"name": name, **stated}}


TOOLS = [function("person", PERSON), function("clock")]
ANSWER: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "schema": {
            "type": "object",
            "properties": {"answer": {"enum": ["yes", "no"]}},
            "required": ["answer"],
        },
    },
}
NAMED = {"type": "function", "function": {"name": "person"}}
FORMS: list[dict[str, Any]] = [
    {"response_format": ANSWER},
    {"structured_outputs": {"regex": "[0-9]{3}"}},
    {"guided_choice": ["yes", "no"]},
]


def ask(server: LiveServer, **fields: Any) -> ChatCompletion:
    body = {"messages": QUESTION} | fields
    response = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=900)
    assert response.status_code == 200, response.text
    return ChatCompletion.model_validate_json(response.content, strict=True)


def check_calls(message: Any, tools: set[str]) -> None:
    assert not message.content
    for call in message.tool_calls:
        assert call.function.name in tools
        arguments = json.loads(call.function.arguments)
        if call.function.name == "clock":
            assert arguments == {}
        else:
            assert arguments.keys() == {"name", "age"}
            assert arguments["age"] in {7, 8, 9}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("form", [{}, {"response_format": ANSWER}])
def test_a_forced_call_fits_its_parameters(
    server: LiveServer, form: dict[str, Any], seed: int
) -> None:
    settings: dict[str, Any] = {"tools": TOOLS, "temperature": 2, "seed": seed, "n": 2, **form}
    for choice in ask(server, tool_choice=NAMED, **settings).choices:
        assert choice.finish_reason == "tool_calls"
        check_calls(choice.message, {"person"})
        assert len(choice.message.tool_calls or ()) == 1
    one = ask(server, tool_choice="required", parallel_tool_calls=False, **settings)
    for choice in one.choices:
        assert choice.finish_reason == "tool_calls"
        check_calls(choice.message, {"person", "clock"})
        assert len(choice.message.tool_calls or ()) == 1
    for choice in ask(server, tool_choice="required", max_tokens=400, **settings).choices:
        check_calls(choice.message, {"person", "clock"})
        assert len(choice.message.tool_calls or ()) >= 1


def is_answer(text: str, form: dict[str, Any]) -> bool:
    if "response_format" in form:
        return json.loads(text) in ({"answer": "yes"}, {"answer": "no"})
    return re.fullmatch("[0-9]{3}|yes|no", text) is not None


@pytest.mark.parametrize("parallel", [None, False])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("form", FORMS)
def test_calls_or_the_response_format(
    server: LiveServer, form: dict[str, Any], seed: int, parallel: bool | None
) -> None:
    settings = {"temperature": 2, "seed": seed, "n": 2, "max_tokens": 300, **form}
    answers = ask(server, tools=TOOLS, parallel_tool_calls=parallel, **settings)
    without = ask(server, tools=TOOLS, tool_choice="none", **settings)
    for choice in (*answers.choices, *without.choices):
        if choice.message.tool_calls:
            check_calls(choice.message, {"person", "clock"})
        else:
            assert is_answer(choice.message.content or "", form)
            assert choice.finish_reason == "stop"
    assert not any(choice.message.tool_calls for choice in without.choices)


EXOTIC = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        (function("odd", EXOTIC), 'the parameters of odd: .*"not" cannot be enforced'),
        (function("odd", {"type": "string"}), "the parameters of odd: .*set type to object"),
        (function("odd", {"$ref": "#/no"}), "the parameters of odd: .*does not exist"),
    ],
)
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "odd"}}])
def test_parameters_that_cannot_be_enforced_are_refused_in_a_forced_call(
    server: LiveServer, tool: dict[str, Any], message: str, choice: Any
) -> None:
    body = {"messages": QUESTION, "tools": [*TOOLS, tool], "tool_choice": choice}
    response = httpx.post(f"{server.url}/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert error_of(response)["param"] == "tools"
    assert re.search(message, error_of(response)["message"])
    # Nothing has been promised of a call that the model chooses itself.
    for form in ({}, {"response_format": ANSWER}):
        ask(server, tools=[*TOOLS, tool], parallel_tool_calls=False, max_tokens=5, **form)


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


@pytest.fixture(scope="module")
def thinking(model_path: Path, script: Script) -> Iterator[LiveServer]:
    """A server that separates reasoning; its model is scripted."""
    config = EngineConfig(model=model_path, kv_capacity_tokens=4096)
    llm = AsyncLLM(build_engine(config, executor=FakeExecutor(script)))
    with live_server(llm, ServerSettings(reasoning=True)) as running:
        yield running


@pytest.fixture(params=[False, True], ids=["opens itself", "opened by the prompt"])
def say(
    request: pytest.FixtureRequest, thinking: LiveServer, script: Script,
    model_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], None]:  # fmt: skip
    """Script the model's reasoning and text."""
    tokenizer = Tokenizer.load(model_path)
    if request.param:
        template = type(thinking.llm.engine.chat_template)
        render = template.render
        monkeypatch.setattr(
            template, "render", lambda *args, **kwargs: render(*args, **kwargs) + "<think>\n"
        )

    def write(text: str) -> None:
        opened = "" if request.param else "<think>\n"
        thought = 'Is it <tool_call> or {"answer": 1}?'
        [end] = tokenizer.encode("<|im_end|>")
        script.token_ids = [*tokenizer.encode(f"{opened}{thought}\n</think>\n\n{text}"), end]

    return write


CALL = '<tool_call>\n{"name": "person", "arguments": {"name": "Alice", "age": 8}}\n</tool_call>'
OTHER = '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
TWO_TOOLS: dict[str, Any] = {"tools": TOOLS}
WRITTEN: list[tuple[dict[str, Any], str, int]] = [
    ({"response_format": ANSWER}, '{\n  "answer": "yes"\n}', 0),
    ({"response_format": {"type": "json_object"}}, '{"a": [1, {"b": "<think>"}]}', 0),
    ({"guided_regex": "[a-z ]+"}, "some words", 0),
    ({"guided_choice": ["yes", "no"]}, "no", 0),
    ({"structured_outputs": {"grammar": 'root ::= "a" [xy]+'}}, "axxy", 0),
    ({**TWO_TOOLS, "response_format": ANSWER}, '{"answer": "no"}', 0),
    ({**TWO_TOOLS, "response_format": ANSWER}, f"{CALL}\n{OTHER}", 2),
    ({**TWO_TOOLS, "tool_choice": "none", "response_format": ANSWER}, '{"answer": "no"}', 0),
    ({**TWO_TOOLS, "tool_choice": "required"}, f"{CALL}\n{OTHER}", 2),
    ({**TWO_TOOLS, "tool_choice": "required", "parallel_tool_calls": False}, CALL, 1),
    ({**TWO_TOOLS, "tool_choice": NAMED}, CALL, 1),
    ({**TWO_TOOLS, "parallel_tool_calls": False}, CALL, 1),
    ({**TWO_TOOLS, "parallel_tool_calls": False}, "Lewis Carroll.", 0),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "text", "num_calls"), WRITTEN)
def test_reasoning_precedes_structured_output(
    thinking: LiveServer, say: Callable[[str], None], fields: dict[str, Any], text: str,
    num_calls: int,
) -> None:  # fmt: skip
    say(text)
    for choice in ask(thinking, n=2, **fields).choices:
        message = choice.message
        assert message.reasoning_content is not None
        assert message.reasoning_content.strip() == 'Is it <tool_call> or {"answer": 1}?'
        assert (message.content or "") == ("" if num_calls else text)
        assert len(message.tool_calls or ()) == num_calls
        assert choice.finish_reason == ("tool_calls" if num_calls else "stop")
    body = {"messages": QUESTION, "stream": True} | fields
    response = httpx.post(f"{thinking.url}/v1/chat/completions", json=body)
    deltas = [choice.delta for chunk in chunks(response, ChatCompletionChunk)
              for choice in chunk.choices]  # fmt: skip
    assert "".join(delta.content or "" for delta in deltas) == ("" if num_calls else text)
    assert "".join(delta.reasoning_content or "" for delta in deltas).endswith("1}?\n")
    indices = {call.index for delta in deltas for call in delta.tool_calls or ()}
    assert indices == set(range(num_calls))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"response_format": ANSWER}, "Hello"),
        ({**TWO_TOOLS, "tool_choice": NAMED}, OTHER),
        ({**TWO_TOOLS, "tool_choice": "required"}, '{"answer": "no"}'),
        ({**TWO_TOOLS, "parallel_tool_calls": False}, "<tool_call>\nclock\n</tool_call>"),
    ],
)
def test_the_response_format_holds_after_reasoning(
    thinking: LiveServer, say: Callable[[str], None], fields: dict[str, Any], text: str
) -> None:
    """The script ignores the mask, so the request fails at the first token outside it."""
    say(text)
    body = {"messages": QUESTION} | fields
    response = httpx.post(f"{thinking.url}/v1/chat/completions", json=body)
    assert response.status_code == 500
    assert "nothing matches this grammar" in error_of(response)["message"]


def test_a_thought_may_be_cut_off(
    thinking: LiveServer, say: Callable[[str], None], model_path: Path
) -> None:
    say('{"answer": "yes"}')
    tokens = len(Tokenizer.load(model_path).encode("<think>\nIs it"))
    [choice] = ask(thinking, response_format=ANSWER, max_tokens=tokens).choices
    assert choice.finish_reason == "length"
    assert not choice.message.content
    assert choice.message.reasoning_content


def test_reasoning_that_is_not_split_off_is_not_allowed(
    thinking: LiveServer, script: Script, model_path: Path
) -> None:
    tokenizer = Tokenizer.load(model_path)
    script.token_ids = tokenizer.encode("<think>")
    body = {"messages": QUESTION, "response_format": ANSWER, "separate_reasoning": False}
    response = httpx.post(f"{thinking.url}/v1/chat/completions", json=body)
    assert response.status_code == 500
    script.token_ids = tokenizer.encode('{"answer": "yes"}')
    [choice] = ask(thinking, response_format=ANSWER, separate_reasoning=False).choices
    assert choice.message.content == '{"answer": "yes"}'


OPEN_CALL = CALL.replace("8}", '8, "more": 1}')


@pytest.mark.parametrize(
    ("path", "fields", "text"),
    [
        ("completions", {"prompt": "x", "guided_json": PERSON, "max_tokens": 99}, None),
        ("chat/completions", {"messages": QUESTION, "guided_json": PERSON}, None),
        ("chat/completions", {"messages": QUESTION, "response_format": ANSWER}, "answer"),
        ("chat/completions", {"messages": QUESTION, "tools": TOOLS, "tool_choice": NAMED}, "call"),
    ],
)
def test_a_server_may_be_told_to_leave_schemas_open(
    thinking: LiveServer, script: Script, model_path: Path, path: str,
    fields: dict[str, Any], text: str | None, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    written = {
        None: '{"name": "Alice", "age": 8, "more": 1}',
        "answer": '{"answer": "no", "more": 1}',
        "call": OPEN_CALL,
    }[text]
    script.token_ids = Tokenizer.load(model_path).encode(f"{written}<|im_end|>")
    url = f"{thinking.url}/v1/{path}"
    assert httpx.post(url, json=fields).status_code == 500
    serving = thinking.app.state.serving
    monkeypatch.setattr(serving, "settings", ServerSettings(open_schemas=True))
    response = httpx.post(url, json=fields)
    assert response.status_code == 200
    assert "more" in response.text
