"""A server of scripted event streams, with scripted delays and faults."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Script:
    """One answer. first_s: from the request to its first token; gap_s: to each further one.

    stall_s: from now on for so long no request of any client gets its first token.
    after_requests: this one gets none before so many requests of any client have come.
    events: bytes in place of the answer, piece by piece; what follows them is cut off.
    cut_after: tokens after which the connection breaks. silent: nothing ever comes.
    """

    tokens: int = 1
    first_s: float = 0.0
    gap_s: float = 0.0
    stall_s: float = 0.0
    after_requests: int = 0
    status: int = 200
    usage: bool = True
    events: tuple[bytes, ...] | None = None
    content_type: str = "text/event-stream"
    cut_after: int | None = None
    silent: bool = False


@dataclass
class ScriptedStreams:
    """script: from the number of a request, counted from 0, and its body to what it is answered.

    bodies, headers: of the requests that came. waits: seconds from a request to its
    first token, by the clock of the server.
    """

    url: str = ""
    script: Callable[[int, dict[str, Any]], Script] = lambda number, body: Script()
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    _stalled_until: float = 0.0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        number, received = len(self.bodies), time.perf_counter()
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        script = self.script(number, body)
        self._stalled_until = max(self._stalled_until, time.perf_counter() + script.stall_s)
        if script.silent:
            await asyncio.Event().wait()
        if script.status != 200:
            error = {"message": f"refused with {script.status}", "type": "x"}
            return web.json_response({"error": error}, status=script.status)
        await asyncio.sleep(script.first_s)
        while (stalled := self._stalled_until - time.perf_counter()) > 0:
            await asyncio.sleep(stalled)
        while len(self.bodies) < script.after_requests:
            await asyncio.sleep(0.001)
        if script.cut_after == -1:
            return _break(request)
        response = web.StreamResponse(headers={"Content-Type": script.content_type})
        await response.prepare(request)
        if script.events is not None:
            for piece in script.events:
                await response.write(piece)
                await asyncio.sleep(0.005)  # so that pieces arrive one by one
            return response
        chat = request.path.endswith("/chat/completions")
        for token in range(script.tokens):
            if token == script.cut_after:
                return _break(request)
            if token:
                await asyncio.sleep(script.gap_s)
            else:
                self.waits.append(time.perf_counter() - received)
            text = f" {number}.{token}"
            said: dict[str, Any] = {"delta": {"content": text}} if chat else {"text": text}
            await _write(response, {"choices": [{"index": 0, "finish_reason": None, **said}]})
        await _write(response, {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
        if script.usage:
            usage = {"prompt_tokens": 7, "completion_tokens": script.tokens}
            details = {"prompt_tokens_details": {"cached_tokens": 3}}
            await _write(response, {"choices": [], "usage": usage | details})
        await response.write(b"data: [DONE]\n\n")
        return response


async def _write(response: web.StreamResponse, chunk: dict[str, Any]) -> None:
    await response.write(b"data: %s\n\n" % json.dumps(chunk).encode())


def _break(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@contextmanager
def scripted_streams() -> Iterator[ScriptedStreams]:
    """Serve from a thread while the block runs."""
    streams = ScriptedStreams()
    loop = asyncio.new_event_loop()
    started = threading.Event()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        app = web.Application()
        for path in ("/v1/completions", "/v1/chat/completions"):
            app.router.add_post(path, streams.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        loop.run_until_complete(runner.setup())
        loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        streams.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve, name="scripted-streams", daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield streams
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
