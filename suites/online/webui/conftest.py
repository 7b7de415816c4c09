"""A browser, a server and the page between them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("websockets", reason="the browser is driven over websockets")
pytest.importorskip("aiohttp", reason="the fake server is made with aiohttp")

from suites.online.webui.browser import Browser, Page, find_chromium
from suites.online.webui.chat_page import ChatPage
from suites.online.webui.fake_server import FakeServer


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = find_chromium()
    if executable is None:
        pytest.skip("no chromium on this machine")
    with Browser(executable, tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="session")
def tab(browser: Browser) -> Iterator[Page]:
    with browser.open_page() as page:
        yield page


@pytest.fixture(scope="session")
def running_server() -> Iterator[FakeServer]:
    server = FakeServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def fake(running_server: FakeServer) -> FakeServer:
    running_server.forget()
    return running_server


@pytest.fixture
def server_url(fake: FakeServer) -> str:
    """Address of the page. Tests of a real server override it."""
    return fake.url


@pytest.fixture
def chat(tab: Page, server_url: str) -> Iterator[ChatPage]:
    """The page with empty storage; it must have no problem by the end of the test."""
    tab.resize(1280, 800)
    tab.prefer("light")
    tab.send("Page.navigate", url="about:blank")
    tab.send("Storage.clearDataForOrigin", origin=server_url.rstrip("/"), storageTypes="all")
    tab.problems.clear()
    tab.requests.clear()
    page = ChatPage(tab, server_url)
    page.open()
    yield page
    assert tab.problems == []
    allowed = (server_url, "blob:", "about:blank")
    assert [url for url in tab.requests if not url.startswith(allowed)] == []
