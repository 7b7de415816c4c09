"""Pydantic AI: an agent with text, a tool, and output by each of its modes, over both APIs."""

from __future__ import annotations

from checks import MODEL, QUESTION, URL, check, run
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

provider = OpenAIProvider(base_url=URL, api_key="any")
settings = ModelSettings(temperature=0, max_tokens=500)
chat = OpenAIChatModel(MODEL, provider=provider, settings=settings)
responses = OpenAIResponsesModel(MODEL, provider=provider, settings=settings)


class Weather(BaseModel):
    city: str
    days: int


@check
def answers_text() -> None:
    for model in (chat, responses):
        assert "Carroll" in Agent(model).run_sync(QUESTION).output


@check
def outputs_a_model_by_a_tool() -> None:
    for model in (chat, responses):
        result = Agent(model, output_type=ToolOutput(Weather)).run_sync(QUESTION)
        assert isinstance(result.output, Weather)


@check
def outputs_a_model_by_a_schema() -> None:
    for model in (chat, responses):
        result = Agent(model, output_type=NativeOutput(Weather)).run_sync(QUESTION)
        assert isinstance(result.output, Weather)


@check
def offers_tools_beside_a_schema() -> None:
    agent = Agent(chat, output_type=NativeOutput(Weather))

    @agent.tool_plain
    def weather(city: str) -> str:
        """The weather of a city."""
        return f"rain in {city}"

    assert isinstance(agent.run_sync(QUESTION).output, Weather)


@check
def streams_text() -> None:
    stream = Agent(chat).run_stream_sync(QUESTION)
    assert "Carroll" in "".join(stream.stream_text(delta=True))


run("pydantic-ai-slim", "openai")
