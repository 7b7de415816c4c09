"""A small OpenAI-compatible server for the page; the last message selects its answer."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

from aiohttp import web

import stagegate

WEBUI = Path(stagegate.__file__).parent / "server" / "webui"
MODEL = "tiny-qwen2"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'"
)
STATS = {
    "running": 1, "waiting": 0, "kv_used_tokens": 1536, "kv_capacity_tokens": 8192,
    "prefix_hits": 30, "prefix_misses": 10, "prefix_saved_tokens": 480, "preemptions": 0,
    "prompt_tokens_total": 900, "completion_tokens_total": 12345, "steps_total": 700,
    "requests_total": {"stop": 12},
}  # fmt: skip
MARKDOWN = """## Prefix caching
Blocks are **hashed** by their tokens, so a *shared* prefix is computed once:

1. look up the longest cached prefix,
2. compute the rest,
3. keep `block_size` tokens a block.

```python
def blocks_needed(tokens: int, block_size: int) -> int:
    return -(-tokens // block_size)
```

| layout | tokens/s | shared |
|:--|--:|:--:|
| block | 812.4 | yes |
| slot | 640.1 | no |

> Evicted last: the prefix most requests share.
"""


class FakeServer:
    """Serves the page and the API from a thread. bodies: the chat requests that came.

    busy: how many of the next chats are refused with 429. key: what the server wants, if anything.
    """

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.cancelled = 0
        self.busy = 0
        self.key: str | None = None
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="fake-server", daemon=True)

    def start(self) -> None:
        self._thread.start()
        if not self._started.wait(10):
            msg = "the fake server did not start within 10 s"
            raise RuntimeError(msg)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def forget(self) -> None:
        self.bodies.clear()
        self.cancelled, self.busy, self.key = 0, 0, None

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self._app(), shutdown_timeout=0.1, handler_cancellation=True)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def _app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/", self._index),
                web.static("/webui", WEBUI),
                web.get("/v1/models", self._models),
                web.get("/v1/stats", self._stats),
                web.post("/v1/chat/completions", self._chat),
            ]
        )
        return app

    async def _index(self, request: web.Request) -> web.FileResponse:
        headers = {"Content-Security-Policy": POLICY}
        return web.FileResponse(WEBUI / "index.html", headers=headers)

    async def _models(self, request: web.Request) -> web.Response:
        if self._is_locked(request):
            return _error(401, "the API key is wrong or missing")
        models = [{"id": MODEL, "max_model_len": 2048}, {"id": "tiny-qwen2-slot"}]
        return web.json_response({"object": "list", "data": models})

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response({"uptime_s": 421.5, "models": {MODEL: STATS}})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        if self._is_locked(request):
            return _error(401, "the API key is wrong or missing")
        if self.busy:
            self.busy -= 1
            return _error(429, "the queue is full", headers={"Retry-After": "7"})
        said = body["messages"][-1]["content"]
        if said == "refuse":
            return _error(400, "temperature must be a number from 0 to 1", "temperature")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self._stream(request, response, said)
        except (asyncio.CancelledError, ConnectionError):
            self.cancelled += 1
            raise
        return response

    async def _stream(self, request: web.Request, response: web.StreamResponse, said: str) -> None:
        async def send(delta: dict[str, str], finish: str | None = None) -> None:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            await response.write(b"data: %s\n\n" % json.dumps({"choices": [choice]}).encode())

        await send({"role": "assistant"})
        if said == "think":
            for word in ("First", "the", "question,", "then", "the", "answer."):
                await send({"reasoning_content": word + " "})
        text = MARKDOWN if said.startswith("Show") else f"You said {said}. "
        pieces = ["tick "] * 500 if said == "slow" else text.split(" ")
        for number, piece in enumerate(pieces):
            if said == "drop" and number == 2:
                assert request.transport is not None
                # A browser drops what came in the same moment as the end.
                await asyncio.sleep(0.05)
                request.transport.close()
                return
            space = "" if piece.endswith(" ") else " "
            await send({"content": piece + space if number < len(pieces) - 1 else piece})
            await asyncio.sleep(0.02 if said == "slow" else 0.002)
        await send({}, "stop")
        usage = {"prompt_tokens": 64, "completion_tokens": len(pieces), "total_tokens": 0}
        usage_chunk = {
            "choices": [],
            "usage": usage | {"prompt_tokens_details": {"cached_tokens": 48}},
        }
        await response.write(b"data: %s\n\n" % json.dumps(usage_chunk).encode())
        await response.write(b"data: [DONE]\n\n")

    def _is_locked(self, request: web.Request) -> bool:
        return self.key is not None and request.headers.get("Authorization") != f"Bearer {self.key}"


def _error(
    status: int, message: str, param: str | None = None, headers: dict[str, str] | None = None
) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
    return web.json_response({"error": error}, status=status, headers=headers)
