"""Output that must fit a form: JSON, a schema, a regular expression, a choice, a forced call."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from engine.errors import InvalidRequestError
from engine.guidance import Guidance
from engine.server.params import stated_guidance
from engine.server.protocol import ChatCompletionRequest
from suites.online.event_stream import error_of
from suites.online.live_server import MODEL, LiveServer

pytestmark = pytest.mark.criterion("s0.online", "s4.online")

QUESTION: list[Any] = [{"role": "user", "content": "Who wrote this book?"}]
PERSON = {
    "type": "object",
    "properties": {
        "name": {"enum": ["Alice", "Dinah"]},
        "age": {"type": "integer", "minimum": 7, "maximum": 9},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "person", "parameters": PERSON}},
    {
        "type": "function",
        "function": {
            "name": "clock",
            "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
        },
    },
]


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as opened:
        yield opened


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_schema_by_the_official_client(client: openai.OpenAI, seed: int) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        temperature=2,
        seed=seed,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "person", "schema": PERSON, "strict": True},
        },
    )
    person = json.loads(answer.choices[0].message.content or "")
    assert person.keys() == {"name", "age"}
    assert person["name"] in {"Alice", "Dinah"}
    assert 7 <= person["age"] <= 9
    assert answer.choices[0].finish_reason == "stop"


def test_a_json_object(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=400,
        response_format={"type": "json_object"},
    )  # fmt: skip
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)
    else:
        assert (answer.choices[0].message.content or "").lstrip().startswith("{")


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({"guided_regex": "[0-9]{3}-[a-c]{2}"}, "[0-9]{3}-[a-c]{2}"),
        ({"guided_choice": ["yes", "perhaps", "no"]}, "yes|perhaps|no"),
        ({"guided_json": {"enum": ["red", "blue"]}}, '"red"|"blue"'),
    ],
)
def test_vendor_fields_stream_what_fits(
    api: httpx.Client, fields: dict[str, Any], pattern: str
) -> None:
    for path, body in (
        ("/v1/completions", {"prompt": "Alice was"}),
        ("/v1/chat/completions", {"messages": QUESTION}),
    ):
        response = api.post(path, json=body | {"temperature": 1.5, "seed": 1} | fields)
        [choice] = response.json()["choices"]
        text = choice["text"] if "text" in choice else choice["message"]["content"]
        assert re.fullmatch(pattern, text)
        assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize("seed", range(4))
def test_a_forced_call_fits_its_parameters(client: openai.OpenAI, seed: int) -> None:
    choices: list[Any] = [
        {"type": "function", "function": {"name": "person"}},
        "required",
    ]
    for choice in choices:
        answer = client.chat.completions.create(
            model=MODEL, messages=QUESTION, tools=TOOLS, tool_choice=choice, temperature=2,
            seed=seed,
        )  # fmt: skip
        assert answer.choices[0].finish_reason == "tool_calls"
        assert answer.choices[0].message.tool_calls is not None
        [call] = answer.choices[0].message.tool_calls
        assert call.type == "function"
        arguments = json.loads(call.function.arguments)
        if choice != "required":
            assert call.function.name == "person"
        if call.function.name == "person":
            assert arguments["name"] in {"Alice", "Dinah"}
        else:
            assert arguments == {}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"guided_regex": "("}, "guided_regex"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_json": {"type": "nothing"}}, "guided_json"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"type": 5}},
                }
            },
            "response_format",
        ),
    ],
)
def test_a_form_that_cannot_be_is_refused(
    api: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    response = api.post("/v1/chat/completions", json={"messages": QUESTION} | fields)
    assert response.status_code == 400
    assert str(error_of(response)["param"]).startswith(param)


def schema_format(schema: dict[str, Any] | None) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Guidance.json_object()),
        ({"response_format": schema_format(PERSON)}, Guidance.json_schema(PERSON)),
        ({"response_format": schema_format(None)}, Guidance.json_object()),
        ({"guided_json": PERSON}, Guidance.json_schema(PERSON)),
        ({"guided_regex": "a|b", "response_format": {"type": "text"}}, Guidance.regex("a|b")),
        ({"guided_choice": ["a", "b"]}, Guidance.choice(["a", "b"])),
    ],
)
def test_guidance(fields: dict[str, Any], wanted: Guidance | None) -> None:
    assert stated_guidance(ChatCompletionRequest(messages=QUESTION, **fields)) == wanted


def test_guidance_by_two_fields_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="exclude each other"):
        stated_guidance(
            ChatCompletionRequest(messages=QUESTION, guided_regex="a", guided_choice=["a"])
        )
