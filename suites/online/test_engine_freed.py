"""An engine is freed, weights and all, when it is closed or its last owner is gone."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import threading
import weakref
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import httpx
import psutil
import pytest
from fastapi import FastAPI

from stagegate import LLM, EngineConfig, LLMEngine, SamplingParams, build_engine
from stagegate.async_llm import AsyncLLM
from stagegate.execution.worker import Worker
from stagegate.server.app import create_app
from stagegate.server.http.settings import ServerSettings
from suites.online.conftest import MakeLLM
from suites.online.event_stream import error_of

Reference = weakref.ref[object]
MESSAGES = [{"role": "user", "content": "x"}]
REQUESTS: tuple[tuple[str, str, dict[str, object] | None], ...] = (
    ("POST", "/v1/completions", {"prompt": "Alice", "max_tokens": 2, "logprobs": 1}),
    ("POST", "/v1/completions", {"prompt": "Alice", "max_tokens": 2, "guided_choice": ["a"]}),
    ("POST", "/v1/completions", {"prompt": "Alice", "colour": 1}),
    ("POST", "/v1/completions", {"prompt": "Alice " * 5000}),
    ("POST", "/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 2, "stream": True}),
    ("POST", "/tokenize", {"messages": MESSAGES}),
    ("POST", "/detokenize", {"tokens": [1]}),
    *(("GET", path, None) for path in ("/v1/models", "/v1/stats", "/metrics", "/openapi.json")),
    *(("GET", path, None) for path in ("/health", "/ready", "/", "/nowhere")),
)


def references(engine: LLMEngine) -> list[Reference]:
    assert isinstance(engine.executor, Worker)
    return [weakref.ref(engine), weakref.ref(engine.executor)]


def assert_freed(held: list[Reference]) -> None:
    # A loop that was stopped but not joined ends after its step.
    for thread in threading.enumerate():
        if thread.name == "engine-loop" and thread.ident != threading.get_ident():
            thread.join(timeout=5)
    gc.collect()
    assert [reference() for reference in held] == [None] * len(held)


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


async def used(app: FastAPI) -> None:
    async with app.router.lifespan_context(app), client_of(app) as client:
        for method, path, body in REQUESTS:
            await client.request(method, path, json=body)


def app_that_was_used(make_llm: MakeLLM) -> list[Reference]:
    llm = make_llm()
    app = create_app({"a": llm}, ServerSettings(allowed_origins=("*",), api_keys=()))
    asyncio.run(used(app))
    return [weakref.ref(app), weakref.ref(llm), *references(llm.engine)]


def app_that_never_started(make_llm: MakeLLM) -> list[Reference]:
    llm = make_llm()
    app = create_app({"a": llm}, ServerSettings())
    app.openapi()
    return [weakref.ref(app), weakref.ref(llm), *references(llm.engine)]


def app_with_two_models(make_llm: MakeLLM) -> list[Reference]:
    llms = [make_llm(), make_llm()]
    app = create_app({"a": llms[0], "b": llms[1]}, ServerSettings())
    asyncio.run(used(app))
    return [reference for llm in llms for reference in references(llm.engine)]


def app_that_could_not_start(make_llm: MakeLLM) -> list[Reference]:
    first, ended = make_llm(), make_llm()
    ended.close()
    app = create_app({"a": first, "b": ended}, ServerSettings())
    with pytest.raises(Exception, match="the engine is closed"):
        asyncio.run(used(app))
    assert not first.is_healthy(1)  # closed too
    return [*references(first.engine), *references(ended.engine)]


def loop_that_was_closed(make_llm: MakeLLM) -> list[Reference]:
    llm = make_llm()
    llm.start()
    llm.close()
    return [weakref.ref(llm), *references(llm.engine)]


def loop_that_was_dropped(make_llm: MakeLLM) -> list[Reference]:
    llm = make_llm()
    llm.start()
    return [weakref.ref(llm), *references(llm.engine)]


def loop_that_was_dropped_after_requests(make_llm: MakeLLM) -> list[Reference]:
    llm = make_llm()

    async def one_read_and_one_left() -> None:
        params = SamplingParams(max_tokens=4, ignore_eos=True)
        async for _ in llm.generate("Alice was", params):
            pass
        async with aclosing(llm.generate("Alice", SamplingParams(max_tokens=900))) as deltas:
            async for _ in deltas:
                break

    llm.start()
    asyncio.run(one_read_and_one_left())
    return [weakref.ref(llm), *references(llm.engine)]


@pytest.mark.parametrize(
    "use",
    [
        app_that_was_used,
        app_that_never_started,
        app_with_two_models,
        app_that_could_not_start,
        loop_that_was_closed,
        loop_that_was_dropped,
        loop_that_was_dropped_after_requests,
    ],
)
def test_a_server_and_its_loop_leave_no_engine(
    make_llm: MakeLLM, use: Callable[[MakeLLM], list[Reference]]
) -> None:
    assert_freed(use(make_llm))


def test_an_offline_engine_is_freed_with_its_last_owner(model_path: Path, device: str) -> None:
    def use() -> list[Reference]:
        llm = LLM(model_path, device=device, dtype="f32", kv_capacity_tokens=1024)
        llm.generate(["Alice was", "Oh"], SamplingParams(max_tokens=3))
        next(iter(llm.stream("Alice", SamplingParams(max_tokens=3))))
        with pytest.raises(ValueError, match="stop"):
            llm.generate("Alice", SamplingParams(stop=[""]))
        return references(llm.engine)

    assert_freed(use())


def test_a_closed_application_lets_go_of_its_engine_and_answers_503(make_llm: MakeLLM) -> None:
    async def closed() -> tuple[list[Reference], FastAPI]:
        llm = make_llm()
        app = create_app({"a": llm}, ServerSettings())
        held = references(llm.engine)
        await used(app)
        return held, app

    async def answers(app: FastAPI) -> None:
        async with client_of(app) as client:
            for method, path, body in REQUESTS:
                if path in {"/openapi.json", "/", "/nowhere"} or "colour" in (body or ()):
                    continue
                response = await client.request(method, path, json=body)
                assert response.status_code == 503, path
                assert error_of(response)["code"] == "engine_dead"

    held, app = asyncio.run(closed())
    assert_freed(held)
    asyncio.run(answers(app))


def test_memory_does_not_grow_with_the_applications_of_a_process(model_path: Path) -> None:
    def resident_after(count: int) -> int:
        for _ in range(count):
            config = EngineConfig(model=model_path, dtype="f32", kv_capacity_tokens=1 << 12)
            llm = AsyncLLM(build_engine(config))
            weights.append(llm.engine.executor.memory_bytes["weights"])
            asyncio.run(used(create_app({"a": llm}, ServerSettings())))
            del llm
            gc.collect()
        # The allocator keeps freed memory, and more of it on a machine with more processors.
        ctypes.CDLL(None).malloc_trim(0)
        return int(psutil.Process().memory_info().rss)

    weights: list[int] = []
    before = resident_after(2)
    assert resident_after(6) - before < 2 * weights[0]  # all six are kept if one is
