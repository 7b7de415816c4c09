"""A server fault at any stage of an answer is reported, counted and logged, and leaks nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stagegate.async_llm import AsyncLLM
from stagegate.core.request import Choice
from stagegate.errors import StagegateError
from stagegate.sampling import SamplingParams
from stagegate.server.http.metrics import Metrics
from stagegate.server.http.settings import ServerSettings
from stagegate.server.openai import logprobs
from stagegate.server.openai.generation import UsageCount
from stagegate.server.openai.message_reader import MessageReader
from stagegate.server.openai.responses import ChatCompletion, Completion
from stagegate.server.openai.streaming import ChunkTemplate, EventStream
from stagegate.text.detokenizer import Detokenizer
from suites.online.conftest import MakeLLM
from suites.online.event_stream import error_of, payloads_of
from suites.online.live_server import LiveServer, live_server

# About the server, not about what a checkpoint answers: a large one takes minutes to.
pytestmark = [pytest.mark.criterion("s0.online", "s4.online"), pytest.mark.tiny_model]

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
SECRET = "what the user wrote"
End = tuple[int, str | None, StagegateError | None]  # tokens, finish reason, error
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {
        "messages": [{"role": "user", "content": "Who wrote this book?"}],
        "separate_reasoning": True,
        "logprobs": True,
        "top_logprobs": 2,
    },
    TEXT: {"prompt": "Alice was", "logprobs": 2},
}


class PlantedError(Exception):
    """A bug, whose message quotes the request."""


@dataclass(frozen=True)
class Stage:
    """A stage of an answer: a function, and the requests that call it.

    repeats: it is called again and again, so that a stream may have begun when it fails.
    at_end: it is called when a stream has begun.
    """

    owner: Any
    name: str
    paths: tuple[str, ...] = (CHAT, TEXT)
    streams: tuple[bool, ...] = (False, True)
    repeats: bool = True
    at_end: bool = False


STAGES = {
    "encode": Stage(AsyncLLM, "encode", repeats=False),
    "detokenizer": Stage(Detokenizer, "push"),
    "logprobs of the engine": Stage(Choice, "push_logprobs"),
    "logprobs": Stage(logprobs, "token_text"),
    "reader": Stage(MessageReader, "read", paths=(CHAT,)),
    "events": Stage(ChunkTemplate, "event", streams=(True,)),
    "metrics": Stage(Metrics, "observe", repeats=False, at_end=True),
    "usage": Stage(UsageCount, "total", repeats=False, at_end=True),
    "end": Stage(ChunkTemplate, "end", streams=(True,), repeats=False, at_end=True),
    "chat body": Stage(
        ChatCompletion, "model_dump_json", paths=(CHAT,), streams=(False,), repeats=False
    ),
    "text body": Stage(
        Completion, "model_dump_json", paths=(TEXT,), streams=(False,), repeats=False
    ),
}
CASES = [
    pytest.param(stage, path, stream, begun, id=f"{name}-{path[4:8]}-{stream}-{begun}")
    for name, stage in STAGES.items()
    for path in stage.paths
    for stream in stage.streams
    for begun in ((False, True) if stream and stage.repeats else (stream and stage.at_end,))
]


@pytest.fixture(scope="module")
def server(make_llm: MakeLLM) -> Iterator[LiveServer]:
    """A client may have one open request, so a leaked request refuses all others."""
    with live_server(make_llm(), ServerSettings(max_requests_per_client=1)) as running:
        yield running


def plant(patch: pytest.MonkeyPatch, stage: Stage, *, begun: bool) -> None:
    """Let the stage fail; begun: not before the first event of a stream is written."""
    real = getattr(stage.owner, stage.name)
    write = EventStream.write
    failing = not begun

    async def written(self: EventStream, events: str) -> None:
        nonlocal failing
        await write(self, events)
        failing = True

    def planted(*args: Any, **kwargs: Any) -> Any:
        if failing:
            raise PlantedError(SECRET)
        return real(*args, **kwargs)

    patch.setattr(EventStream, "write", written)
    patch.setattr(stage.owner, stage.name, planted)


def responses_of(server: LiveServer, path: str) -> dict[str, float]:
    """Number of responses of the path, by status."""
    text = server.app.state.serving.metrics.exposition().decode()
    return {
        sample.labels["status"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "stagegate:http_requests_total" and sample.labels["handler"] == path
    }


def gained(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {s: after[s] - before.get(s, 0) for s in after if after[s] != before.get(s, 0)}


def check_forgotten(server: LiveServer, api: httpx.Client) -> None:
    """Check that nothing of the failed request is left, and that the next is answered."""
    server.wait_until_idle()
    cancelled = api.post("/v1/requests/mine/cancel")
    assert cancelled.status_code == 404
    fine = api.post(TEXT, json={"prompt": "Alice was", "max_tokens": 2})
    assert fine.status_code == 200, fine.text
    assert server.llm.is_healthy(60)


def check_log(log: pytest.LogCaptureFixture) -> None:
    """Check for one traceback, without the user's text."""
    [record] = [record for record in log.records if record.levelno >= logging.ERROR]
    message = record.getMessage()
    assert record.name == "stagegate.server.http.faults"
    assert "PlantedError" in message
    assert "in planted" in message
    assert SECRET not in log.text


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(("stage", "path", "stream", "begun"), CASES)
def test_a_fault_ends_the_answer_and_nothing_else(
    server: LiveServer,
    api: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stage: Stage,
    path: str,
    stream: bool,
    begun: bool,
    n: int,
) -> None:
    before = responses_of(server, path)
    # What repeats fails long before the end.
    max_tokens = 1900 if stage.repeats else 4
    body = BODIES[path] | {"n": n, "max_tokens": max_tokens, "ignore_eos": True, "stream": stream}
    with monkeypatch.context() as patch:
        plant(patch, stage, begun=begun)
        response = api.post(path, json=body, headers={"X-Request-Id": "mine"})
    if begun:
        assert response.status_code == 200
        *chunks, last = payloads_of(response)
        assert chunks
        assert all("choices" in json.loads(chunk) for chunk in chunks)
        error = json.loads(last)["error"]
    else:
        assert response.status_code == 500
        error = error_of(response)
    assert error["type"] == "server_error"
    assert SECRET not in response.text
    assert gained(before, responses_of(server, path)) == {"500": 1}
    check_log(caplog)
    check_forgotten(server, api)


def test_a_fault_in_one_of_several_prompts_ends_them_all(
    server: LiveServer,
    api: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = {"prompt": ["Alice was", "Down the"], "max_tokens": 1900, "stream": True}
    with monkeypatch.context() as patch:
        plant(patch, STAGES["detokenizer"], begun=True)
        response = api.post(TEXT, json=body, headers={"X-Request-Id": "mine"})
    *_, last = payloads_of(response)
    assert "PlantedError" in json.loads(last)["error"]["message"]
    check_log(caplog)
    check_forgotten(server, api)


def test_other_requests_go_on(
    server: LiveServer, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault is in the text of one request; the step was right for all."""
    llm = server.llm
    real = Choice.catch_up

    def planted(self: Choice) -> str | None:
        if self.sequence.num_prompt_tokens == 1 and self.sequence.num_output_tokens == 5:
            raise PlantedError(SECRET)
        return real(self)

    async def end_of(prompt: list[int]) -> End:
        params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
        async for delta in llm.generate(prompt, params):
            last = delta
        return last.usage.completion_tokens, last.choices[0].finish_reason, last.error

    async def both() -> tuple[End, End]:
        return await asyncio.gather(end_of([1]), end_of([1, 2]))

    monkeypatch.setattr(Choice, "catch_up", planted)
    failed, fine = asyncio.run(both())
    assert failed[:2] == (5, "error")
    assert isinstance(failed[2], StagegateError)
    assert fine == (12, "length", None)
    check_forgotten(server, api)


def call(
    server: LiveServer, path: str, send: Callable[[dict[str, Any]], None], **fields: Any
) -> None:
    """A request that bypasses HTTP, so that sending can fail."""
    content = json.dumps(BODIES[path] | fields).encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"x-request-id", b"mine")],
        "client": ("127.0.0.1", 1),
    }

    async def answer() -> None:
        messages = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> MutableMapping[str, Any]:
            if messages:
                return messages.pop(0)
            return await asyncio.Future()

        async def send_it(message: MutableMapping[str, Any]) -> None:
            send(dict(message))

        await server.app(scope, receive, send_it)

    asyncio.run(answer())


@pytest.mark.parametrize("passing", [0, 1, 3])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_a_client_that_cannot_be_written_to_has_gone(
    server: LiveServer,
    api: httpx.Client,
    caplog: pytest.LogCaptureFixture,
    path: str,
    stream: bool,
    passing: int,
) -> None:
    sent: list[dict[str, Any]] = []

    def send(message: dict[str, Any]) -> None:
        if len(sent) >= passing:
            raise BrokenPipeError
        sent.append(message)

    call(server, path, send, stream=stream, max_tokens=48, ignore_eos=True)
    assert len(sent) == min(passing, 3 if stream else 2)
    assert not caplog.records
    check_forgotten(server, api)


@pytest.mark.parametrize("passing", [1, 3])
@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_a_fault_of_sending_is_logged_and_counted(
    server: LiveServer,
    api: httpx.Client,
    caplog: pytest.LogCaptureFixture,
    path: str,
    passing: int,
) -> None:
    before = responses_of(server, path)
    sent: list[dict[str, Any]] = []

    def send(message: dict[str, Any]) -> None:
        if len(sent) >= passing:
            raise PlantedError(SECRET)
        sent.append(message)

    call(server, path, send, stream=True, max_tokens=48, ignore_eos=True)
    assert len(sent) == passing
    assert gained(before, responses_of(server, path)) == {"500": 1}
    assert "PlantedError" in caplog.text
    assert SECRET not in caplog.text
    check_forgotten(server, api)
