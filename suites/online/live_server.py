"""A real server inside the test process, on a separate port."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import uvicorn
from fastapi import FastAPI

from stagegate.async_llm import AsyncLLM
from stagegate.core.engine_stats import EngineStats
from stagegate.outputs import ChoiceDelta
from stagegate.sampling import SamplingParams
from stagegate.server.app import create_app
from stagegate.server.http.connection import ConnectionLimits, limited_connection
from stagegate.server.http.settings import ServerSettings
from suites.online.only_client import only_client

MODEL = "tiny"


@dataclass(frozen=True)
class LiveServer:
    """url: without a path. llm: the one model, served as MODEL."""

    url: str
    port: int
    app: FastAPI
    llm: AsyncLLM

    def answer_of_engine(self, prompt: str | list[int], params: SamplingParams) -> ChoiceDelta:
        """The whole answer of the engine without the server."""

        async def collect() -> list[ChoiceDelta]:
            stream = self.llm.generate(prompt, params)
            return [choice async for delta in stream for choice in delta.choices]

        deltas = asyncio.run(collect())
        text = "".join(delta.text for delta in deltas)
        token_ids = [token for delta in deltas for token in delta.token_ids]
        return replace(deltas[-1], text=text, token_ids=token_ids)

    def wait_until_idle(self, seconds: float = 5.0) -> EngineStats:
        """Wait for the engine to become idle and return its statistics; fails after a timeout."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            stats = self.llm.stats()
            if not (stats.running or stats.waiting or stats.kv_used_tokens):
                return stats
            time.sleep(0.005)
        msg = f"still busy after {seconds} s: {self.llm.stats()}"
        raise AssertionError(msg)

    def wait_until_running(self, requests: int, seconds: float = 5.0) -> None:
        deadline = time.monotonic() + seconds
        while self.llm.stats().running < requests:
            assert time.monotonic() < deadline, self.llm.stats()
            time.sleep(0.002)


@contextmanager
def live_server(
    llm: AsyncLLM,
    settings: ServerSettings | None = None,
    limits: ConnectionLimits | None = None,
) -> Iterator[LiveServer]:
    """Serve a model while the block runs. The server closes the model's loop at the end."""
    app = create_app({MODEL: only_client(llm)}, settings or ServerSettings())
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=0,
            http=limited_connection(limits or ConnectionLimits()),
            ws="none",
            log_level="error",
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield LiveServer(f"http://127.0.0.1:{port}", port, app, llm)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive()
