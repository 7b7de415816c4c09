"""Limits on a client: open requests, size and time of a body."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from stagegate.server.http.errors import ApiError, TooManyRequestsError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class ClientLimit:
    """Counts the open requests of each client; most: the limit."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    @contextmanager
    def slot(self, client: str) -> Iterator[None]:
        """Count one request of a client during the block. Raises TooManyRequestsError."""
        if self._most is not None and self._open[client] >= self._most:
            msg = f"{self._most} requests of this client are open already; wait for one to end"
            raise TooManyRequestsError(msg)
        self._open[client] += 1
        try:
            yield
        finally:
            self._open[client] -= 1
            if not self._open[client]:
                del self._open[client]


class BodyLimit:
    """ASGI middleware: reads the whole body, within a time and a size, before the app runs.

    A body with a Content-Length above the limit is refused unread, a chunked one when it exceeds
    the limit. After a refusal the connection is closed, because the rest of the body is not a
    request.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self._max_bytes:
            await self._too_large(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._read(receive)
        except TimeoutError:
            msg = f"the body did not arrive within {self._timeout_s:g} s"
            await _refuse(ApiError(408, msg, code="body_timeout"), scope, receive, send)
            return
        if body is None:
            return
        if len(body) > self._max_bytes:
            await self._too_large(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The body, or a part that already exceeds the limit; None if the client disconnected."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._max_bytes or not message.get("more_body", False):
                return bytes(body)

    async def _too_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        msg = f"the body is longer than {self._max_bytes} bytes"
        await _refuse(ApiError(413, msg, code="body_too_large"), scope, receive, send)


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    response = error.response()
    response.headers["Connection"] = "close"
    await response(scope, receive, send)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return the body that was read, then messages from the connection."""
    taken: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def replayed() -> Message:
        nonlocal taken
        if taken is None:
            return await receive()
        message, taken = taken, None
        return message

    return replayed
