"""The official Python client: chat, completions, responses, tools, structured output."""

from __future__ import annotations

from typing import Any

from checks import MODEL, QUESTION, URL, check, run
from openai import OpenAI, pydantic_function_tool
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

client = OpenAI(base_url=URL, api_key="any", max_retries=0)
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTION}]


class Weather(BaseModel):
    city: str
    days: int


WEATHER = pydantic_function_tool(Weather)


@check
def lists_models() -> None:
    assert MODEL in [model.id for model in client.models.list()]


@check
def chats() -> None:
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES, temperature=0)
    assert "Carroll" in (answer.choices[0].message.content or "")


@check
def streams_non_ascii_logprobs() -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "说你好 😀 e\u0301"}]
    tokens = [
        entry.token
        for chunk in client.chat.completions.create(
            model=MODEL,
            messages=messages,
            max_tokens=16,
            stream=True,
            logprobs=True,
            top_logprobs=5,
        )
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs.content or ()
    ]
    assert tokens


@check
def parses_a_schema() -> None:
    parsed = client.chat.completions.parse(
        model=MODEL, messages=MESSAGES, response_format=Weather, max_tokens=400
    )
    assert isinstance(parsed.choices[0].message.parsed, Weather)
    # What the client made of the answer is accepted as history.
    history: list[Any] = [*MESSAGES, parsed.choices[0].message.model_dump(), *MESSAGES]
    client.chat.completions.create(model=MODEL, messages=history, max_tokens=2)


@check
def streams_a_forced_call() -> None:
    # The tiny model would go on with calls for as long as it may.
    with client.chat.completions.stream(
        model=MODEL,
        messages=MESSAGES,
        tools=[WEATHER],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=400,
    ) as stream:
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0].message
    calls = message.tool_calls
    assert calls
    assert isinstance(calls[0].function.parsed_arguments, Weather)
    answers = [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in calls]
    history: list[Any] = [*MESSAGES, message.model_dump(), *answers]
    follow_up = client.chat.completions.create(model=MODEL, messages=history, max_tokens=4)
    assert follow_up.choices[0].finish_reason


@check
def completes_with_echo_and_logprobs() -> None:
    answer = client.completions.create(
        model=MODEL, prompt="Alice was", temperature=0, max_tokens=4, echo=True, logprobs=1
    )
    assert answer.choices[0].text.startswith("Alice was")


@check
def responds() -> None:
    answer = client.responses.create(model=MODEL, input=QUESTION, temperature=0)
    assert "Carroll" in answer.output_text
    parsed = client.responses.parse(
        model=MODEL, input=QUESTION, text_format=Weather, max_output_tokens=400
    )
    assert isinstance(parsed.output_parsed, Weather)


@check
def streams_responses() -> None:
    with client.responses.stream(model=MODEL, input=QUESTION, temperature=0) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert "Carroll" in final.output_text


run("openai")
