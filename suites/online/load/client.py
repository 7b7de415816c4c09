"""Sends requests and records the times of their chunks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import aiohttp

from suites.online.load.endpoints import Endpoint
from suites.online.load.errors import LoadError
from suites.online.load.event_splitter import EventSplitter
from suites.online.load.request_result import Failure, RequestResult
from suites.online.load.workload import Conversation

# uvicorn closes idle connections after 5 s; a request that met the closing would be lost.
_KEEP_ALIVE_S = 2.0
_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class Target:
    """The server under load. Raises LoadError for an invalid address.

    url: with or without /v1 at its end. fields: additional fields of every body.
    """

    url: str
    model: str
    endpoint: Endpoint = Endpoint.CHAT
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 120.0
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        scheme, _, rest = self.url.partition("://")
        if scheme not in {"http", "https"} or not rest.strip("/"):
            msg = f"{self.url!r} is no address; wanted: http://HOST:PORT"
            raise LoadError(msg)
        if not self.timeout_s > 0:
            msg = f"timeout must be positive, got {self.timeout_s}"
            raise LoadError(msg)

    @property
    def address(self) -> str:
        base = self.url.rstrip("/")
        return (base if base.endswith("/v1") else f"{base}/v1") + self.endpoint.path


class BrokenStreamError(Exception):
    """The response is not a valid answer."""


class LoadClient:
    """An async context manager; as many connections as requests are open at once.

    The clock runs from restart_clock(), or from the beginning of the block.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._origin = 0.0

    async def __aenter__(self) -> LoadClient:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if self._target.api_key is not None:
            headers["Authorization"] = f"Bearer {self._target.api_key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        )
        self.restart_clock()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    def restart_clock(self) -> None:
        self._origin = time.perf_counter()

    def now(self) -> float:
        """Seconds since the clock was started."""
        return time.perf_counter() - self._origin

    async def send(
        self, conversation: Conversation, answers: Sequence[str], intended: float
    ) -> RequestResult:
        """Request the next turn and wait for its end. Failures are part of the result."""
        target = self._target
        turn = conversation.turns[len(answers)]
        body = {
            "model": target.model,
            "max_tokens": turn.output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **target.endpoint.prompt(conversation, answers),
            **target.fields,
        }
        encoded = json.dumps(body).encode()
        result = RequestResult(conversation.index, len(answers), intended, self.now())
        try:
            async with asyncio.timeout(target.timeout_s):
                await self._exchange(encoded, result)
        except TimeoutError:
            _fail(result, Failure.TIMEOUT, f"not done within {target.timeout_s:g} s")
        except BrokenStreamError as error:
            _fail(result, Failure.BROKEN_STREAM, str(error))
        except (aiohttp.ClientError, OSError) as error:
            kind = Failure.CONNECTION if result.status is None else Failure.BROKEN_STREAM
            _fail(result, kind, str(error) or type(error).__name__)
        if result.failure is not None or not result.ended:
            result.ended = self.now()
        return result

    async def _exchange(self, body: bytes, result: RequestResult) -> None:
        headers = {"Content-Type": "application/json"}
        async with self._session.post(
            self._target.address, data=body, headers=headers, allow_redirects=False
        ) as response:
            result.status = response.status
            if response.status >= 400:
                _fail(result, _failure_of(response.status), await _message_of(response))
                return
            if response.status != 200 or response.content_type != "text/event-stream":
                msg = f"status {response.status} with {response.content_type}, no event stream"
                raise BrokenStreamError(msg)
            await self._read(response, result)

    async def _read(self, response: aiohttp.ClientResponse, result: RequestResult) -> None:
        splitter = EventSplitter()
        texts: list[str] = []
        async for received in response.content.iter_any():
            now = self.now()
            for payload in splitter.push(received):
                if payload == b"[DONE]":
                    result.ended = now
                else:
                    self._take(payload, result, texts, now)
        result.text = "".join(texts)
        if not result.ended:
            msg = "the stream ended without [DONE]"
            raise BrokenStreamError(msg)

    def _take(self, payload: bytes, result: RequestResult, texts: list[str], now: float) -> None:
        try:
            chunk = json.loads(payload)
            if "error" in chunk:
                raise BrokenStreamError(_message_in(chunk))
            for choice in chunk["choices"]:
                text, generated = self._target.endpoint.pieces(choice)
                if generated:
                    texts.append(text)
                    result.token_times.append(now)
                result.finish_reason = choice.get("finish_reason") or result.finish_reason
            if usage := chunk.get("usage"):
                result.prompt_tokens = int(usage["prompt_tokens"])
                result.completion_tokens = int(usage["completion_tokens"])
                details = usage.get("prompt_tokens_details") or {}
                result.cached_tokens = details.get("cached_tokens")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"not a chunk of an answer: {payload[:100]!r}"
            raise BrokenStreamError(msg) from error


def _fail(result: RequestResult, failure: Failure, message: str) -> None:
    result.failure = failure
    result.message = message[:_LONGEST_MESSAGE]


def _failure_of(status: int) -> Failure:
    if status == 429:
        return Failure.RATE_LIMITED
    return Failure.CLIENT_ERROR if status < 500 else Failure.SERVER_ERROR


async def _message_of(response: aiohttp.ClientResponse) -> str:
    body = (await response.read()).decode(errors="replace")
    try:
        return f"{response.status}: {_message_in(json.loads(body))}"
    except (ValueError, TypeError):
        return f"{response.status}: {body.strip()}"


def _message_in(answer: dict[str, Any]) -> str:
    error = answer.get("error", answer)
    return str(error.get("message", error)) if isinstance(error, dict) else str(error)
