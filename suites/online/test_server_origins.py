"""Pages of allowed origins may call the server with any headers of their client library."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx
import pytest
from fastapi import FastAPI

from stagegate.server.app import create_app
from stagegate.server.http.settings import ServerSettings
from suites.online.conftest import MakeLLM

pytestmark = pytest.mark.criterion("s0.online", "s4.online")

PAGE = "https://page.example"
# What openai-node sends from a page.
CLIENT_HEADERS = (
    "authorization, content-type, x-stainless-arch, x-stainless-lang, x-stainless-os, "
    "x-stainless-package-version, x-stainless-retry-count, x-stainless-runtime, "
    "x-stainless-runtime-version, x-stainless-timeout"
)
PATHS = ("/v1/chat/completions", "/v1/models", "/tokenize")


@pytest.fixture(scope="module")
def app(make_llm: MakeLLM) -> FastAPI:
    """Not started: a preflight needs no engine."""
    settings = ServerSettings(api_keys=("key",), allowed_origins=(PAGE,))
    return create_app({"a": make_llm()}, settings)


def preflights(
    app: FastAPI, origin: str, headers: str, method: str = "POST", paths: Sequence[str] = PATHS
) -> list[httpx.Response]:
    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            asked = {
                "Origin": origin,
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": headers,
            }
            return [await client.options(path, headers=asked) for path in paths]

    return asyncio.run(ask())


@pytest.mark.parametrize(
    "headers",
    [
        CLIENT_HEADERS,
        CLIENT_HEADERS.replace(", ", ",").upper(),
        "x-request-id",
        "openai-organization,openai-beta,idempotency-key,x-stainless-helper-method",
        "x-made-up",
    ],
)
def test_any_header_may_be_sent_from_an_allowed_origin(app: FastAPI, headers: str) -> None:
    for allowed in preflights(app, PAGE, headers):
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == PAGE
        assert allowed.headers["access-control-allow-headers"] == headers
        # A key is a header like any other, so pages need no cookies.
        assert "access-control-allow-credentials" not in allowed.headers


@pytest.mark.parametrize("origin", ["https://other.example", f"{PAGE}.evil", "null"])
def test_no_other_origin_is_allowed(app: FastAPI, origin: str) -> None:
    for refused in preflights(app, origin, CLIENT_HEADERS):
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers


def test_no_other_method_is_allowed(app: FastAPI) -> None:
    assert {answer.status_code for answer in preflights(app, PAGE, "x-a", "DELETE")} == {400}


def test_a_star_allows_every_origin(make_llm: MakeLLM) -> None:
    app = create_app({"a": make_llm()}, ServerSettings(allowed_origins=("*",)))
    for allowed in preflights(app, "https://any.example", CLIENT_HEADERS):
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "*"
        assert allowed.headers["access-control-allow-headers"] == CLIENT_HEADERS
