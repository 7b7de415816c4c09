"""Hugging Face's client, which shares no code with OpenAI's, works unmodified."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from suites.online.live_server import MODEL, LiveServer

pytestmark = pytest.mark.criterion("s0.online", "s4.online")

# Requests are plain dictionaries, as callers write them; the client declares classes of its own.
QUESTION: Any = [{"role": "user", "content": "Who wrote this book?"}]


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[InferenceClient]:
    with InferenceClient(base_url=f"{server.url}/v1", api_key="any") as opened:
        yield opened


def test_chat(client: InferenceClient) -> None:
    answer = client.chat.completions.create(
        messages=QUESTION, model=MODEL, temperature=0, max_tokens=24
    )
    assert answer.choices[0].message.content
    assert answer.usage.total_tokens > answer.usage.prompt_tokens


def test_stream_with_logprobs_and_usage(client: InferenceClient) -> None:
    options: Any = {"include_usage": True}
    whole = client.chat_completion(QUESTION, model=MODEL, temperature=0, max_tokens=24)
    text, usage, tokens = "", None, 0
    for chunk in client.chat_completion(
        QUESTION, model=MODEL, temperature=0, stream=True, logprobs=True, top_logprobs=2,
        stream_options=options, max_tokens=24,
    ):  # fmt: skip
        usage = chunk.usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            tokens += len(choice.logprobs.content) if choice.logprobs else 0
    assert text == whole.choices[0].message.content
    assert usage is not None
    assert usage.total_tokens == whole.usage.total_tokens
    assert tokens == whole.usage.completion_tokens


def test_parameters(client: InferenceClient) -> None:
    answer = client.chat_completion(
        QUESTION, model=MODEL, max_tokens=5, seed=1, stop=["zzz"], top_p=0.9, presence_penalty=0.5,
        frequency_penalty=0.5, logit_bias=None, n=2, extra_body={"top_k": 3, "ignore_eos": True},
    )  # fmt: skip
    assert len(answer.choices) == 2
    assert answer.usage.completion_tokens == 10


def test_a_schema(client: InferenceClient) -> None:
    schema = {"name": "colour", "schema": {"enum": ["red", "blue"]}, "strict": True}
    response_format: Any = {"type": "json_schema", "json_schema": schema}
    answer = client.chat_completion(
        QUESTION, model=MODEL, temperature=1, response_format=response_format
    )
    assert answer.choices[0].message.content in {'"red"', '"blue"'}


def test_a_forced_call(client: InferenceClient) -> None:
    parameters = {
        "type": "object",
        "properties": {"colour": {"enum": ["red"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    function = {"name": "paint", "description": "a rose", "parameters": parameters}
    tools: Any = [{"type": "function", "function": function}]
    answer = client.chat_completion(
        QUESTION, model=MODEL, tools=tools, tool_choice="required",
        extra_body={"parallel_tool_calls": False},
    )  # fmt: skip
    [call] = answer.choices[0].message.tool_calls or []
    assert call.function.name == "paint"
    assert answer.choices[0].finish_reason == "tool_calls"


def test_errors(client: InferenceClient) -> None:
    with pytest.raises(HfHubHTTPError, match="404"):
        client.chat_completion(QUESTION, model="other")
    with pytest.raises(BadRequestError, match="temperature"):
        client.chat_completion(QUESTION, model=MODEL, temperature=-1.0)


def test_leaving_a_stream_cancels_the_work(client: InferenceClient, server: LiveServer) -> None:
    stream = client.chat_completion(
        QUESTION, model=MODEL, stream=True, max_tokens=1900, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    before = server.llm.stats().completion_tokens_total
    del stream
    assert server.wait_until_idle().completion_tokens_total - before < 1900
