"""LangChain's ChatOpenAI: invoke, stream, tools, structured output, batches, an agent."""

from __future__ import annotations

from typing import Any

from checks import MODEL, QUESTION, URL, check, run
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel, Field

chat = ChatOpenAI(
    model=MODEL, base_url=URL, api_key="any", temperature=0, max_retries=0, max_tokens=300
)


class Weather(BaseModel):
    """The weather of a city."""

    city: str = Field(description="its name")
    days: int


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


@check
def invokes() -> None:
    answer = chat.invoke(QUESTION)
    assert "Carroll" in answer.content
    assert answer.usage_metadata["output_tokens"] > 0


@check
def streams() -> None:
    pieces = [piece.content for piece in chat.stream(QUESTION)]
    assert len(pieces) > 1
    assert "Carroll" in "".join(pieces)


@check
def answers_a_batch() -> None:
    assert len(chat.batch([QUESTION] * 4)) == 4


@check
def structured_output_by_each_method() -> None:
    for method in ("json_schema", "function_calling"):
        parsed = chat.with_structured_output(Weather, method=method).invoke(QUESTION)
        assert isinstance(parsed, Weather), method
    assert isinstance(
        chat.with_structured_output(None, method="json_mode").invoke("Answer in JSON."), dict
    )


@check
def calls_a_tool_and_reads_its_result() -> None:
    forced = chat.bind_tools([weather], tool_choice="weather")
    called = forced.invoke(QUESTION)
    [call] = called.tool_calls
    result = weather.invoke(call)
    answer = chat.bind_tools([weather]).invoke([("user", QUESTION), called, result])
    assert answer.response_metadata["finish_reason"]


@check
def streams_a_tool_call() -> None:
    whole: Any = None
    for piece in chat.bind_tools([weather], tool_choice="any").stream(QUESTION):
        whole = piece if whole is None else whole + piece
    assert whole.tool_calls[0]["name"] == "weather"


@check
def uses_the_responses_api() -> None:
    answer = ChatOpenAI(
        model=MODEL, base_url=URL, api_key="any", max_retries=0, use_responses_api=True
    ).invoke(QUESTION)
    assert answer.text


@check
def completes() -> None:
    text = OpenAI(model=MODEL, base_url=URL, api_key="any", max_tokens=8).invoke("Alice was")
    assert text


run("langchain-openai", "langchain-core", "openai")
