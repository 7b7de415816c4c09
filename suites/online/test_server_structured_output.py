"""Structured output: JSON, a schema, a regular expression, a choice, a grammar."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from stagegate.errors import InvalidRequestError
from stagegate.server.openai.params import stated_grammar
from stagegate.server.openai.protocol import ChatCompletionRequest
from stagegate.structured.grammar import Grammar
from suites.online.event_stream import error_of, payloads_of
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


def streamed_texts(response: httpx.Response) -> list[str]:
    """The text of each choice, in the order of their indices."""
    texts: dict[int, str] = {}
    *payloads, _done = payloads_of(response)
    for payload in payloads:
        for choice in json.loads(payload)["choices"]:
            gained = choice["text"] if "text" in choice else choice["delta"].get("content")
            texts[choice["index"]] = texts.get(choice["index"], "") + (gained or "")
    return [texts[index] for index in sorted(texts)]


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({"guided_regex": "[0-9]{3}-[a-c]{2}"}, "[0-9]{3}-[a-c]{2}"),
        ({"guided_choice": ["yes", "perhaps", "no"]}, "yes|perhaps|no"),
        ({"guided_json": {"enum": ["red", "blue"]}}, '"red"|"blue"'),
        ({"guided_grammar": 'root ::= [0-9] "-" ("a" | "b")'}, "[0-9]-[ab]"),
        ({"structured_outputs": {"json": {"enum": ["red", "blue"]}}}, '"red"|"blue"'),
        ({"structured_outputs": {"json": '{"enum": ["red", 5]}'}}, '"red"|5'),
        ({"structured_outputs": {"regex": "[0-9]{3}-[a-c]{2}"}}, "[0-9]{3}-[a-c]{2}"),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, "yes|no"),
        ({"structured_outputs": {"grammar": 'start: "x" | "y" /[0-9]{2}/'}}, "x|y[0-9]{2}"),
    ],
)
def test_vendor_fields_stream_what_fits(
    api: httpx.Client, fields: dict[str, Any], pattern: str
) -> None:
    for path, body in (
        ("/v1/completions", {"prompt": "Alice was"}),
        ("/v1/chat/completions", {"messages": QUESTION}),
    ):
        settings: dict[str, Any] = {"temperature": 1.5, "seed": 1, "n": 2}
        response = api.post(path, json=body | settings | fields)
        choices = response.json()["choices"]
        assert len(choices) == 2
        texts = [choice["text"] if "text" in choice else choice["message"]["content"]
                 for choice in choices]  # fmt: skip
        assert all(re.fullmatch(pattern, text) for text in texts)
        assert {choice["finish_reason"] for choice in choices} == {"stop"}
        streamed = api.post(path, json=body | settings | fields | {"stream": True})
        assert streamed_texts(streamed) == texts


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"guided_regex": "("}, "guided_regex"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_json": {"type": "nothing"}}, "guided_json"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": {"type": "array", "uniqueItems": True}}, "guided_json"),
        ({"guided_grammar": "start: nothing"}, "guided_grammar"),
        ({"guided_grammar": 'root ::= "a'}, "guided_grammar"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"json_object": False}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs.regex"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs.json"),
        ({"structured_outputs": {"json": {"type": "nothing"}}}, "structured_outputs.json"),
        ({"structured_outputs": {"grammar": "hello"}}, "structured_outputs.grammar"),
        ({"structured_outputs": {"regex": "a", "grammar": "a"}}, "structured_outputs.grammar"),
        ({"structured_outputs": {"lark": "a"}}, "structured_outputs.lark"),
        (
            {"structured_outputs": {"json": {}, "whitespace_pattern": " "}},
            "structured_outputs.whitespace_pattern",
        ),
        (
            {"structured_outputs": {"structural_tag": "{}"}},
            "structured_outputs.structural_tag",
        ),
        (
            {"structured_outputs": {"json": {}, "disable_any_whitespace": True}},
            "structured_outputs.disable_any_whitespace",
        ),
        (
            {"structured_outputs": {"regex": "a"}, "guided_choice": ["a"]},
            "structured_outputs.regex",
        ),
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
def test_an_impossible_grammar_is_refused(
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
        ({"response_format": {"type": "json_object"}}, Grammar.json_object()),
        ({"response_format": schema_format(PERSON)}, Grammar.json_schema(PERSON)),
        ({"response_format": schema_format(None)}, Grammar.json_object()),
        ({"guided_json": PERSON}, Grammar.json_schema(PERSON)),
        ({"guided_regex": "a|b", "response_format": {"type": "text"}}, Grammar.regex("a|b")),
        ({"guided_choice": ["a", "b"]}, Grammar.choice(["a", "b"])),
        ({"guided_grammar": 'start: "a"'}, Grammar.context_free('start: "a"')),
        ({"structured_outputs": None}, None),
        ({"structured_outputs": {"json": PERSON, "regex": None}}, Grammar.json_schema(PERSON)),
        ({"structured_outputs": {"json_object": True}}, Grammar.json_object()),
        (
            {
                "structured_outputs": {
                    "regex": "a",
                    "json_object": False,
                    "disable_any_whitespace": False,
                    "disable_additional_properties": False,
                    "whitespace_pattern": None,
                    "structural_tag": None,
                }
            },
            Grammar.regex("a"),
        ),
    ],
)
def test_grammar_of_a_request(fields: dict[str, Any], wanted: Grammar | None) -> None:
    assert stated_grammar(ChatCompletionRequest(messages=QUESTION, **fields)) == wanted


LISTS = {"type": "object", "properties": {"a": {"type": "integer"}}}


@pytest.mark.parametrize(
    "fields",
    [
        {"guided_json": LISTS},
        {"structured_outputs": {"json": LISTS}},
        {"structured_outputs": {"json": json.dumps(LISTS), "disable_additional_properties": False}},
        {"response_format": schema_format(LISTS)},
        {"response_format": {"type": "json_object", "value": LISTS}},
    ],
)
def test_a_server_may_leave_schemas_open(fields: dict[str, Any]) -> None:
    request = ChatCompletionRequest(messages=QUESTION, **fields)
    assert stated_grammar(request) == Grammar.json_schema(LISTS)
    opened = stated_grammar(request, open_schemas=True)
    assert opened == Grammar.json_schema(LISTS, closed=False) != Grammar.json_schema(LISTS)


def test_a_request_may_close_what_the_server_leaves_open() -> None:
    stated = {"json": LISTS, "disable_additional_properties": True}
    request = ChatCompletionRequest(messages=QUESTION, structured_outputs=stated)
    assert stated_grammar(request, open_schemas=True) == Grammar.json_schema(LISTS)


def test_a_grammar_by_two_fields_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="exclude each other"):
        stated_grammar(
            ChatCompletionRequest(messages=QUESTION, guided_regex="a", guided_choice=["a"])
        )
