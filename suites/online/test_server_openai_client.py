"""OpenAI's official client works unmodified."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from suites.online.live_server import MODEL, LiveServer

pytestmark = pytest.mark.criterion("s0.online", "s4.online")

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Who wrote this book?"}]


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as opened:
        yield opened


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=24
    )
    assert answer.choices[0].finish_reason in {"stop", "length"}
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    follow_up = client.chat.completions.create(
        model=MODEL,
        messages=[*QUESTION, answer.choices[0].message, *QUESTION],  # type: ignore[list-item]
        max_completion_tokens=2,
    )
    assert follow_up.usage is not None
    assert follow_up.usage.completion_tokens == 2


def test_chat_stream_with_usage_and_logprobs(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=24
    )
    text, tokens, usage = "", b"", None
    for chunk in client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        temperature=0,
        max_tokens=24,
        stream=True,
        stream_options={"include_usage": True},
        logprobs=True,
        top_logprobs=3,
    ):
        usage = chunk.usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            if choice.logprobs is not None:
                entries = choice.logprobs.content or []
                tokens += b"".join(bytes(entry.bytes or ()) for entry in entries)
    assert text == whole.choices[0].message.content
    if whole.choices[0].finish_reason == "stop":
        *_, last = entries  # the end, which is no text
        tokens = tokens.removesuffix(bytes(last.bytes or ()))
    assert tokens.decode(errors="replace") == text
    assert usage is not None
    assert whole.usage is not None
    assert usage.total_tokens == whole.usage.total_tokens


def test_the_stream_helper_of_the_client(client: openai.OpenAI, server: LiveServer) -> None:
    # It raises where an answer ends for its length.
    end = server.llm.engine.inputs.eos_token_ids[-1]
    with client.chat.completions.stream(
        model=MODEL, messages=QUESTION, temperature=0, logit_bias={str(end): 100},
        extra_body={"min_tokens": 8},
    ) as stream:  # fmt: skip
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content


def test_completions(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=MODEL, prompt="Alice was", temperature=0, max_tokens=8, echo=True, logprobs=1
    )
    assert answer.choices[0].text.startswith("Alice was")
    assert answer.choices[0].logprobs is not None
    stream = client.completions.create(
        model=MODEL, prompt="Alice was", temperature=0, max_tokens=8, stream=True
    )
    pieces = [choice.text for chunk in stream for choice in chunk.choices]
    assert "Alice was" + "".join(pieces) == answer.choices[0].text


def test_vendor_fields_by_extra_body(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=MODEL,
        prompt="Alice was",
        extra_body={"top_k": 1, "min_p": 0.1, "ignore_eos": True, "repetition_penalty": 1.1},
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 16


def test_errors_are_those_of_the_client(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="other", messages=QUESTION)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as invalid:
        client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=-1)
    assert invalid.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model=MODEL, prompt="word " * 5000)
    assert long.value.code == "context_length_exceeded"


def test_closing_a_stream_cancels_the_work(client: openai.OpenAI, server: LiveServer) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        stream=True,
        max_tokens=1900,
        extra_body={"ignore_eos": True},
    )
    next(iter(stream))
    stream.close()
    before = server.wait_until_idle().completion_tokens_total
    assert before < 1900


def test_cancel_ends_a_stream_with_abort(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        stream=True,
        max_tokens=1900,
        extra_body={"ignore_eos": True},
    )
    reasons: list[str | None] = []
    for number, chunk in enumerate(stream):
        if number == 3:
            answer = client.post(f"/requests/{chunk.id}/cancel", cast_to=object)
            assert answer == {"id": chunk.id, "object": "request.cancelled", "cancelled": True}
        reasons += [choice.finish_reason for choice in chunk.choices]
    assert reasons[-1] == "abort"
