"""OpenAI Agents SDK: a run, a stream, a tool and an output type, over both APIs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from checks import MODEL, QUESTION, URL, check, run
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(True)


class Weather(BaseModel):
    city: str
    days: int


@function_tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


def for_both_apis(ask: Callable[[Agent], Coroutine[Any, Any, None]], **fields: object) -> None:
    async def run_each() -> None:
        async with AsyncOpenAI(base_url=URL, api_key="any", max_retries=0) as client:
            for model in (OpenAIChatCompletionsModel, OpenAIResponsesModel):
                agent = Agent(name="guide", instructions="Answer.", **fields)
                await ask(agent.clone(model=model(model=MODEL, openai_client=client)))

    asyncio.run(run_each())


@check
def answers_text() -> None:
    async def ask(agent: Agent) -> None:
        assert (await Runner.run(agent, QUESTION)).final_output

    for_both_apis(ask, model_settings=ModelSettings(temperature=0))


@check
def streams_text() -> None:
    async def ask(agent: Agent) -> None:
        result = Runner.run_streamed(agent, QUESTION)
        kinds = [event.type async for event in result.stream_events()]
        assert "raw_response_event" in kinds
        assert result.final_output

    for_both_apis(ask, model_settings=ModelSettings(temperature=0, max_tokens=32))


@check
def calls_a_tool_and_goes_on() -> None:
    async def ask(agent: Agent) -> None:
        result = await Runner.run(agent, QUESTION)
        kinds = [item.type for item in result.new_items]
        assert "tool_call_output_item" in kinds
        assert kinds[-1] == "message_output_item"

    # The tiny model would go on with calls for as long as it may.
    settings = ModelSettings(tool_choice="required", parallel_tool_calls=False, max_tokens=200)
    for_both_apis(ask, tools=[weather], model_settings=settings)


@check
def outputs_a_model_beside_tools() -> None:
    async def ask(agent: Agent) -> None:
        assert isinstance((await Runner.run(agent, QUESTION)).final_output, Weather)

    settings = ModelSettings(max_tokens=400)
    for_both_apis(ask, tools=[weather], output_type=Weather, model_settings=settings)


run("openai-agents", "openai")
