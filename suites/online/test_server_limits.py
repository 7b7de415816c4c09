"""Limits on open requests, time-outs, and API keys."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from stagegate.errors import ConfigError
from stagegate.execution.step import ScheduledStep
from stagegate.execution.worker import RunningStep, Worker
from stagegate.server.http.connection import ConnectionLimits
from stagegate.server.http.settings import ServerSettings
from suites.online.conftest import MakeLLM
from suites.online.event_stream import error_of, payloads_of
from suites.online.live_server import LiveServer, live_server

# About the server, not about what a checkpoint answers: a large one takes minutes to.
pytestmark = [pytest.mark.criterion("s0.online", "s4.online"), pytest.mark.tiny_model]

LONG = {"prompt": "Alice was", "max_tokens": 1500, "ignore_eos": True}
SHORT = {"prompt": "Alice was", "max_tokens": 2}


def everything_of(connection: socket.socket) -> bytes:
    """All bytes until the server closes the connection."""
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


@pytest.fixture(scope="module")
def strict(make_llm: MakeLLM) -> Iterator[LiveServer]:
    """A server with low limits."""
    settings = ServerSettings(
        api_keys=("first", "second"),
        allowed_origins=("https://page.example",),
        max_body_bytes=2000,
        body_timeout_s=0.3,
        max_requests_per_client=2,
    )
    limits = ConnectionLimits(
        max_connections=8, max_header_bytes=4000, header_timeout_s=0.3, write_timeout_s=0.5
    )
    with live_server(make_llm(max_waiting=2, max_num_seqs=1), settings, limits) as running:
        yield running


def authorised(server: LiveServer, key: str = "first") -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=300)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer other"},
        {"Authorization": "first"},
        {"Authorization": "Basic first"},
        {"Authorization": b"Bearer f\xefrst"},
    ],
)
def test_without_a_key_nothing_of_the_api_answers(strict: LiveServer, headers: Any) -> None:
    for method, path in (
        ("POST", "/v1/chat/completions"), ("POST", "/v1/completions"), ("GET", "/v1/models"),
        ("GET", "/v1/stats"), ("POST", "/tokenize"), ("POST", "/detokenize"),
        ("POST", "/v1/requests/x/cancel"), ("GET", "/v1/no-such-path"),
    ):  # fmt: skip
        response = httpx.request(method, strict.url + path, headers=headers)
        assert response.status_code == 401
        assert error_of(response)["code"] == "invalid_api_key"
        assert response.headers["www-authenticate"] == "Bearer"
    for path in ("/health", "/ready", "/metrics", "/"):
        assert httpx.get(strict.url + path, headers=headers).status_code == 200


def test_each_key_opens(strict: LiveServer) -> None:
    for key in ("first", "second"):
        with authorised(strict, key) as client:
            assert client.get("/v1/models").status_code == 200


def test_browsers_may_call_from_listed_origins_only(strict: LiveServer) -> None:
    preflight = {"Access-Control-Request-Method": "POST", "Origin": "https://page.example"}
    allowed = httpx.options(f"{strict.url}/v1/chat/completions", headers=preflight)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://page.example"
    preflight["Origin"] = "https://other.example"
    refused = httpx.options(f"{strict.url}/v1/chat/completions", headers=preflight)
    assert "access-control-allow-origin" not in refused.headers
    # The page can read why it was refused.
    answer = httpx.get(f"{strict.url}/v1/models", headers={"Origin": "https://page.example"})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "https://page.example"


def test_bodies_have_a_size(strict: LiveServer) -> None:
    fits = b'{"prompt": "' + b" " * (2000 - 14) + b'"}'
    with authorised(strict) as client:
        for content in (fits, iter([fits[:900], fits[900:]])):
            headers = {"Content-Type": "application/json"}
            assert client.post("/tokenize", content=content, headers=headers).status_code == 200
        for content in (fits + b" ", iter([fits, b" "]), iter([b" " * 1500] * 50)):
            response = client.post("/tokenize", content=content)
            assert response.status_code == 413
            assert error_of(response)["code"] == "body_too_large"


def test_a_body_announced_too_long_is_refused_unread(strict: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", strict.port), timeout=5) as connection:
        connection.sendall(
            b"POST /tokenize HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer first\r\n"
            b"Content-Length: 99999999999999999999\r\n\r\n"
        )
        assert connection.recv(65536).split(b"\r\n")[0].split(b" ")[1] in {b"400", b"413"}


def test_a_slow_body_is_given_up(strict: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", strict.port), timeout=5) as connection:
        connection.sendall(
            b"POST /tokenize HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer first\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        assert everything_of(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: x\r\nX-", b"\r\n"],
)
def test_slow_headers_close_the_connection(strict: LiveServer, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", strict.port), timeout=5) as connection:
        connection.sendall(sent)
        assert everything_of(connection) == b""


def test_slow_headers_of_a_second_request_close_the_connection(strict: LiveServer) -> None:
    for rest in (b"GET /health HTTP/1.1\r\nHost", b"\r\n"):
        with socket.create_connection(("127.0.0.1", strict.port), timeout=5) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            connection.sendall(rest)
            started = time.monotonic()
            assert everything_of(connection) in {b"", b'{"status":"ok"}'}
            assert time.monotonic() - started < 2


def test_headers_have_a_size(strict: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", strict.port), timeout=5) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Much: " + b"a" * 3900)
        connection.sendall(b"a" * 200)
        assert everything_of(connection).startswith(b"HTTP/1.1 431 ")


def test_connections_have_a_number(strict: LiveServer) -> None:
    connections = [
        socket.create_connection(("127.0.0.1", strict.port), timeout=5) for _ in range(12)
    ]
    try:
        time.sleep(0.1)
        closed = 0
        for connection in connections:
            connection.setblocking(False)
            try:
                closed += connection.recv(1) == b""
            except BlockingIOError:
                continue
        assert closed >= 4
    finally:
        for connection in connections:
            connection.close()
    time.sleep(0.05)
    assert httpx.get(f"{strict.url}/health").status_code == 200


def test_a_client_that_does_not_read_is_cut_off(make_llm: MakeLLM) -> None:
    limits = ConnectionLimits(write_timeout_s=0.3)
    with (
        live_server(make_llm(), limits=limits) as running,
        socket.socket() as connection,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.settimeout(5)
        connection.connect(("127.0.0.1", running.port))
        body = b'{"prompt": "x", "n": 128, "max_tokens": 400, "ignore_eos": true, "stream": true,'
        body += b'"logprobs": 20}'
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        running.wait_until_running(1)
        stats = running.wait_until_idle(120)
        assert stats.completion_tokens_total < 128 * 400


def test_a_full_queue_is_429_and_what_was_accepted_ends(
    strict: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sequence runs, two wait; clients of two keys may have four requests open together."""
    submit = Worker.submit

    def slowly(worker: Worker, step: ScheduledStep) -> RunningStep:
        time.sleep(0.003)  # a GPU would have answered the first before the last arrives
        return submit(worker, step)

    monkeypatch.setattr(Worker, "submit", slowly)

    def post(key: str) -> httpx.Response:
        with authorised(strict, key) as client:
            return client.post("/v1/completions", json=LONG | {"max_tokens": 150})

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(post, ["first", "second"] * 2))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200, 200, 200, 429]
    for answer in answers:
        if answer.status_code == 429:
            assert error_of(answer)["code"] == "queue_full"
            assert error_of(answer)["type"] == "rate_limit_error"
            assert int(answer.headers["retry-after"]) >= 1
        else:
            assert answer.json()["usage"]["completion_tokens"] == 150
    strict.wait_until_idle()


def test_a_client_has_its_share_only(strict: LiveServer) -> None:
    with ThreadPoolExecutor(2) as pool, authorised(strict) as client:
        for _ in range(2):
            pool.submit(client.post, "/v1/completions", json=LONG | {"max_tokens": 300})
        deadline = time.monotonic() + 5
        while sum((strict.llm.stats().running, strict.llm.stats().waiting)) < 2:
            assert time.monotonic() < deadline
        refused = client.post("/v1/completions", json=SHORT)
        with authorised(strict, "second") as other:
            accepted = other.post("/v1/completions", json=SHORT)
    assert refused.status_code == 429
    assert error_of(refused)["code"] == "too_many_requests"
    assert accepted.status_code == 200
    with authorised(strict) as client:
        assert client.post("/v1/completions", json=SHORT).status_code == 200


def test_a_client_cancels_its_own_ids_only(strict: LiveServer) -> None:
    with (
        ThreadPoolExecutor(1) as pool,
        authorised(strict) as client,
        authorised(strict) as same,
        authorised(strict, "second") as other,
    ):
        headers = {"X-Request-Id": "mine"}
        answering = pool.submit(client.post, "/v1/completions", json=LONG, headers=headers)
        strict.wait_until_running(1)
        assert other.post("/v1/requests/mine/cancel").status_code == 404
        assert same.post("/v1/requests/mine/cancel").status_code == 200
        assert answering.result().json()["choices"][0]["finish_reason"] == "abort"


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_takes_too_long_is_cancelled(
    make_llm: MakeLLM, api: httpx.Client, stream: bool
) -> None:
    # A stream begins in time when two steps take less, and no model does a thousand in that time.
    api.post("/v1/completions", json=SHORT)
    began = time.monotonic()
    api.post("/v1/completions", json=SHORT)
    limit = max(0.2, 5 * (time.monotonic() - began))
    with live_server(make_llm(), ServerSettings(request_timeout_s=limit)) as running:
        # The first steps take longer on a GPU.
        httpx.post(f"{running.url}/v1/completions", json=SHORT, timeout=300)
        response = httpx.post(
            f"{running.url}/v1/completions", json=LONG | {"stream": stream}, timeout=300
        )
        if stream:
            assert response.status_code == 200
            *_, last = payloads_of(response)
            assert '"code": "timeout"' in last
        else:
            assert response.status_code == 504
            assert error_of(response)["code"] == "timeout"
        stats = running.wait_until_idle()
        assert stats.completion_tokens_total < 1500


@pytest.mark.parametrize(
    "fields",
    [
        {"max_body_bytes": 0},
        {"body_timeout_s": -1.0},
        {"request_timeout_s": 0.0},
        {"stall_s": float("nan")},
        {"max_requests_per_client": 0},
        {"api_keys": ("",)},
        {"api_keys": ("a b",)},
        {"api_keys": ("ä",)},
    ],
)
def test_settings_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ServerSettings(**fields)
