"""Malformed requests get a 4xx or a closed connection, and leak nothing.

On each layout they are more than ten thousand.
"""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from suites.online.conftest import MakeLLM
from suites.online.event_stream import error_of
from suites.online.live_server import LiveServer, live_server

# About the server, not about what a checkpoint answers: a large one takes minutes to.
pytestmark = [pytest.mark.criterion("s0.online", "s4.online"), pytest.mark.tiny_model]

# Tokens of a sequence: some requests run as long as they may.
MAX_MODEL_LEN = 128

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/tokenize", "/detokenize")
# A record keeps the last part of what looks like a path.
NAMES = [path.removeprefix("/v1/").replace("/", "-") for path in PATHS]
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1},
    "/v1/completions": {"prompt": "x", "max_tokens": 1},
    "/v1/responses": {"input": "x", "max_output_tokens": 1},
    "/tokenize": {"prompt": "x"},
    "/detokenize": {"tokens": [1]},
}
FIELDS = (
    *("input", "instructions", "text", "include", "reasoning", "max_output_tokens", "truncation"),
    *("messages", "prompt", "tokens", "model", "n", "max_tokens", "min_tokens", "temperature"),
    *("top_p", "top_k", "min_p", "seed", "stop", "stop_token_ids", "logit_bias", "logprobs"),
    *("stream", "stream_options", "tools", "tool_choice", "response_format", "guided_regex"),
    *("guided_json", "guided_choice", "guided_grammar", "structured_outputs", "priority"),
    *("presence_penalty", "echo", "user", "metadata"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 1 << 31, 1 << 63, 1 << 64, -(1 << 70), 10**300, 1e308),
    *("", "x", "\x00", "\ud800", "\u2028", "🐱" * 100, "a" * 3000, "*", "(", "[z-a]"),
    *([], [[]], [None], [{}], [[[[]]]], [1, "x"], [-1], [1 << 40], ["\x00"]),
    *({}, {"": ""}, {"type": "object"}, {"type": []}, {"$ref": "#"}, {"role": "user"}),
    *({"-1": 5}, {"1": 1e9}, {"1": "x"}, {"type": "json_schema"}, {"type": "function"}),
)


@pytest.fixture(scope="module")
def server(make_llm: MakeLLM) -> Iterator[LiveServer]:
    with live_server(make_llm(max_model_len=MAX_MODEL_LEN)) as running:
        yield running


def answered(response: httpx.Response) -> None:
    if response.status_code != 200:
        assert 400 <= response.status_code < 500, response.text
        error_of(response)


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_every_field_with_every_wrong_value(api: httpx.Client, path: str) -> None:
    """One field of each request is replaced; the answer is 200 where the value is legal."""
    headers = {"Content-Type": "application/json"}
    for field in FIELDS:
        for value in VALUES:
            body = json.dumps(GOOD[path] | {field: value})
            answered(api.post(path, content=body, headers=headers))


def damaged(rng: random.Random, body: bytes) -> bytes:
    """A body with bytes changed, removed, doubled, or nested."""
    kind = rng.randrange(5)
    at = rng.randrange(len(body))
    if kind == 0:
        return body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :]
    if kind == 1:
        return body[:at]
    if kind == 2:
        return body[:at] + body[at // 2 :]
    if kind == 3:
        return body[:at] + rng.choice([b"[", b"{", b'"', b"\\", b"\xff", b"1e999"]) * 50 + body[at:]
    return b"[" * at + body + b"]" * at


@pytest.mark.parametrize("path", PATHS, ids=NAMES)
def test_damaged_bodies(api: httpx.Client, path: str) -> None:
    rng = random.Random(path)
    for _ in range(1200):
        body = damaged(rng, json.dumps(GOOD[path]).encode())
        answered(api.post(path, content=body, headers={"Content-Type": "application/json"}))


RAW: dict[str, bytes] = {
    "noise": bytes(range(256)),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
    "no version": b"POST /tokenize\r\n\r\n",
    "other version": b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "bad method": b"G\x00T /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "connect": b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
    "path of bytes": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "escaped bytes": b"GET /%ff%00%2e%2e/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "header without name": b"GET /health HTTP/1.1\r\n: x\r\n\r\n",
    "header with null": b"GET /health HTTP/1.1\r\nHost: x\x00y\r\n\r\n",
    "two lengths": b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
    b"Content-Length: 3\r\n\r\n{}",
    "negative length": b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "huge length": b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n",
    "length and chunks": b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "bad chunk": b"POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "upgrade": b"GET /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "many headers": b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
    "long path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n",
}


@pytest.mark.parametrize("name", RAW)
def test_what_is_no_http(server: LiveServer, name: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        received = _exchange(connection, RAW[name])
    if received:
        status = int(received.split(b" ")[1])
        assert 400 <= status < 500, received


def _exchange(connection: socket.socket, request: bytes) -> bytes:
    """The response to a request, until the connection ends or is reset."""
    received = b""
    try:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65536):
            received += piece
    except ConnectionError:
        pass
    return received


@pytest.mark.parametrize("abandon", ["before headers end", "in the body", "after the request"])
def test_connections_left_in_hundreds(server: LiveServer, api: httpx.Client, abandon: str) -> None:
    body = json.dumps({"prompt": "x", "max_tokens": MAX_MODEL_LEN, "ignore_eos": True}).encode()
    head = (
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n" % len(body)
    )
    sent: Callable[[], bytes] = {
        "before headers end": lambda: head,
        "in the body": lambda: head + b"\r\n" + body[:10],
        "after the request": lambda: head + b"\r\n" + body,
    }[abandon]
    before = server.llm.stats().completion_tokens_total
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(sent())
    after = server.wait_until_idle(60).completion_tokens_total
    assert after - before < 200 * MAX_MODEL_LEN / 2
    assert api.get("/health").status_code == 200
