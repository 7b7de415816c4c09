"""The work of a client that disconnects is cancelled."""

from __future__ import annotations

import socket
import struct
from typing import Any

import httpx
import pytest

from suites.online.live_server import LiveServer

pytestmark = pytest.mark.criterion("s0.online", "s4.online")

LONG = {"prompt": "Alice was", "max_tokens": 1500, "ignore_eos": True}


def started(server: LiveServer, **fields: Any) -> socket.socket:
    """A connection with a running request."""
    body = httpx.Request("POST", "http://x", json=LONG | fields).read()
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.sendall(
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    server.wait_until_running(1)
    return connection


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stream": True},
        {"n": 3},
        {"prompt": ["Alice was", "Down the"], "stream": True},
    ],
)
def test_leaving_frees_the_memory(server: LiveServer, fields: dict[str, Any], reset: bool) -> None:
    before = server.llm.stats()
    connection = started(server, **fields)
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    after = server.wait_until_idle()
    generated = after.completion_tokens_total - before.completion_tokens_total
    assert generated < 2 * 1500
    assert after.requests_total.get("abort", 0) > before.requests_total.get("abort", 0)


def test_leaving_while_waiting_frees_the_place(server: LiveServer, api: httpx.Client) -> None:
    """Half of the clients disconnect before their requests run; the others are unaffected."""
    fields = {"prompt": "Alice was", "temperature": 0}
    alone = api.post("/v1/completions", json=fields).json()
    before = server.llm.stats()
    leaving = [started(server) for _ in range(8)]
    for connection in leaving:
        connection.close()
    answer = api.post("/v1/completions", json=fields).json()
    assert answer["choices"] == alone["choices"]
    after = server.wait_until_idle()
    assert after.requests_total["abort"] - before.requests_total.get("abort", 0) == 8


def test_a_pipelined_request_behind_a_stream_is_answered(server: LiveServer) -> None:
    with started(server, stream=True, max_tokens=30) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert b"data: [DONE]" in received
    assert received.endswith(b'{"status":"ok"}')
