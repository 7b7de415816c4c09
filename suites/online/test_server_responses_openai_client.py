"""OpenAI's official client uses /v1/responses unmodified."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from openai.types.responses import FunctionToolParam
from pydantic import BaseModel

from suites.online.live_server import MODEL, LiveServer

pytestmark = pytest.mark.criterion("s0.online", "s4.online")

QUESTION = "Who wrote this book?"
PERSON: FunctionToolParam = {
    "type": "function",
    "name": "person",
    "description": "of the book",
    "parameters": {
        "type": "object",
        "properties": {"name": {"enum": ["Alice", "Dinah"]}},
        "required": ["name"],
        "additionalProperties": False,
    },
    "strict": True,
}
CLOCK: FunctionToolParam = {"type": "function", "name": "clock", "parameters": None, "strict": None}


class Person(BaseModel):
    name: Literal["Alice", "Dinah"]
    pets: Literal[0, 1]


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as opened:
        yield opened


def test_an_answer_and_the_next_turn(client: openai.OpenAI) -> None:
    answer = client.responses.create(model=MODEL, input=QUESTION, temperature=0)
    assert answer.output_text
    history: list[Any] = [
        {"role": "user", "content": QUESTION},
        *(item.model_dump() for item in answer.output),
        {"role": "user", "content": QUESTION},
    ]
    follow_up = client.responses.create(model=MODEL, input=history, temperature=0)
    chat = client.chat.completions.create(
        model=MODEL,
        temperature=0,
        messages=[
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": answer.output_text},
            {"role": "user", "content": QUESTION},
        ],
    )
    assert follow_up.output_text == chat.choices[0].message.content


def test_a_stream_of_events(client: openai.OpenAI) -> None:
    whole = client.responses.create(model=MODEL, input=QUESTION, temperature=0)
    text = ""
    for event in client.responses.create(model=MODEL, input=QUESTION, temperature=0, stream=True):
        if event.type == "response.output_text.delta":
            text += event.delta
    assert event.type == "response.completed"
    assert text == event.response.output_text == whole.output_text


def test_the_stream_helper(client: openai.OpenAI) -> None:
    with client.responses.stream(model=MODEL, input=QUESTION, temperature=0) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text
    assert final.output_text


def test_a_parsed_answer(client: openai.OpenAI) -> None:
    answer = client.responses.parse(model=MODEL, input=QUESTION, text_format=Person)
    assert isinstance(answer.output_parsed, Person)


def test_a_parsed_stream(client: openai.OpenAI) -> None:
    with client.responses.stream(model=MODEL, input=QUESTION, text_format=Person) as stream:
        [done] = [event for event in stream if event.type == "response.output_text.done"]
        final = stream.get_final_response()
    assert isinstance(final.output_parsed, Person)
    assert done.parsed == final.output_parsed


def test_json_without_a_schema(client: openai.OpenAI) -> None:
    answer = client.responses.create(
        model=MODEL,
        input=QUESTION,
        text={"format": {"type": "json_object"}},
        max_output_tokens=40,
    )
    assert answer.output_text.startswith("{")


@pytest.mark.parametrize(
    ("tools", "choice", "name"),
    [
        ([PERSON], "required", "person"),
        ([CLOCK, PERSON], {"type": "function", "name": "person"}, "person"),
        (
            [CLOCK, PERSON],
            {"type": "allowed_tools", "mode": "required", "tools": [PERSON]},
            "person",
        ),
    ],
)
def test_a_call_and_its_output(
    client: openai.OpenAI, tools: list[Any], choice: Any, name: str
) -> None:
    answer = client.responses.create(
        model=MODEL,
        input=QUESTION,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=False,
    )
    [call] = answer.output
    assert call.type == "function_call"
    assert call.name == name
    assert json.loads(call.arguments) in ({"name": "Alice"}, {"name": "Dinah"})
    follow_up = client.responses.create(
        model=MODEL,
        input=[
            {"role": "user", "content": QUESTION},
            call.model_dump(),  # type: ignore[list-item]
            {"type": "function_call_output", "call_id": call.call_id, "output": "a cat"},
        ],
        tools=tools,
        max_output_tokens=4,
    )
    assert follow_up.usage is not None
    assert follow_up.usage.output_tokens == 4


def test_a_streamed_call(client: openai.OpenAI) -> None:
    with client.responses.stream(
        model=MODEL,
        input=QUESTION,
        tools=[PERSON],
        tool_choice="required",
        parallel_tool_calls=False,
    ) as stream:
        for event in stream:
            if event.type == "response.function_call_arguments.delta":
                snapshot = event.snapshot
        final = stream.get_final_response()
    [call] = final.output
    assert call.type == "function_call"
    assert call.arguments == snapshot
    assert isinstance(call.parsed_arguments, dict)
    assert call.parsed_arguments["name"] in {"Alice", "Dinah"}


def test_what_is_not_stored(client: openai.OpenAI) -> None:
    answer = client.responses.create(model=MODEL, input=QUESTION, max_output_tokens=1)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.delete(answer.id)
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=MODEL, input="x", previous_response_id=answer.id)
    assert refused.value.param == "previous_response_id"


def test_closing_a_stream_cancels_the_work(client: openai.OpenAI, server: LiveServer) -> None:
    before = server.wait_until_idle().completion_tokens_total
    stream = client.responses.create(
        model=MODEL,
        input=QUESTION,
        stream=True,
        max_output_tokens=1900,
        extra_body={"ignore_eos": True},
    )
    next(iter(stream))
    stream.close()
    assert server.wait_until_idle().completion_tokens_total - before < 1900
