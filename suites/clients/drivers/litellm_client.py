"""LiteLLM's SDK: completion, streams, tools, structured output, asynchronous calls."""

from __future__ import annotations

import asyncio

import litellm
from checks import MODEL, QUESTION, URL, check, run
from pydantic import BaseModel

MESSAGES = [{"role": "user", "content": QUESTION}]
SERVER = {"model": f"openai/{MODEL}", "api_base": URL, "api_key": "any", "num_retries": 0}
HOSTED = SERVER | {"model": f"hosted_vllm/{MODEL}"}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


class Weather(BaseModel):
    city: str
    days: int


@check
def completes_a_chat() -> None:
    for server in (SERVER, HOSTED):
        answer = litellm.completion(**server, messages=MESSAGES, temperature=0)
        assert "Carroll" in answer.choices[0].message.content


@check
def streams_with_usage() -> None:
    chunks = list(
        litellm.completion(
            **SERVER,
            messages=MESSAGES,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert "Carroll" in text
    assert litellm.stream_chunk_builder(chunks).usage.completion_tokens > 0


@check
def calls_a_tool_and_sends_its_message_back() -> None:
    answer = litellm.completion(
        **SERVER, messages=MESSAGES, tools=[TOOL], tool_choice="required", max_tokens=300
    )
    message = answer.choices[0].message
    [call, *_] = message.tool_calls
    assert call.function.name == "weather"
    results = [
        {"role": "tool", "tool_call_id": each.id, "content": "rain"} for each in message.tool_calls
    ]
    litellm.completion(
        **SERVER, messages=[*MESSAGES, message, *results], tools=[TOOL], max_tokens=4
    )


@check
def keeps_to_a_schema() -> None:
    answer = litellm.completion(
        **SERVER, messages=MESSAGES, response_format=Weather, max_tokens=400
    )
    Weather.model_validate_json(answer.choices[0].message.content)


@check
def answers_asynchronously() -> None:
    async def ask() -> None:
        answers = await asyncio.gather(
            *(litellm.acompletion(**SERVER, messages=MESSAGES, max_tokens=8) for _ in range(4))
        )
        assert len(answers) == 4

    asyncio.run(ask())


@check
def completes_a_text() -> None:
    answer = litellm.text_completion(
        model=f"text-completion-openai/{MODEL}",
        api_base=URL,
        api_key="any",
        prompt="Alice was",
        max_tokens=4,
    )
    assert answer.choices[0].text


run("litellm", "openai")
