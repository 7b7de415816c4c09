"""One server per layout for the online tests. Each test must leave it idle, with no memory used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from stagegate import EngineConfig, build_engine
from stagegate.async_llm import AsyncLLM
from stagegate.text.tokenizer import Tokenizer
from suites.engine.fake_executor import FakeExecutor, Script
from suites.online.live_server import LiveServer, live_server

MakeLLM = Callable[..., AsyncLLM]
Say = Callable[[str], None]


@pytest.fixture(scope="module")
def make_llm(model_path: Path, kv_layout: str, device: str, num_threads: int) -> MakeLLM:
    """An engine behind a loop that is not started; takes fields of EngineConfig and max_waiting."""

    def make(*, max_waiting: int = 1024, **settings: object) -> AsyncLLM:
        fields = {
            "model": model_path,
            "device": device,
            "dtype": "f32",
            "kv_layout": kv_layout,
            "kv_capacity_tokens": 4096,
            "num_threads": num_threads,
        }
        config = EngineConfig(**(fields | settings))  # type: ignore[arg-type]
        return AsyncLLM(build_engine(config), max_waiting=max_waiting)

    return make


@pytest.fixture(scope="module")
def server(make_llm: MakeLLM) -> Iterator[LiveServer]:
    with live_server(make_llm()) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


@pytest.fixture(scope="module")
def scripted(model_path: Path, script: Script) -> Iterator[LiveServer]:
    """A server whose model writes the text that `say` was given."""
    config = EngineConfig(model=model_path, kv_capacity_tokens=4096)
    with live_server(AsyncLLM(build_engine(config, executor=FakeExecutor(script)))) as running:
        yield running


@pytest.fixture
def say(model_path: Path, script: Script) -> Say:
    """Have the model write a text and end."""
    tokenizer = Tokenizer.load(model_path)

    def write(text: str) -> None:
        [end] = tokenizer.encode("<|im_end|>")
        script.token_ids = [*tokenizer.encode(text), end]

    return write


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").wait_until_idle()
