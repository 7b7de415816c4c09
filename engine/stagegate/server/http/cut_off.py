"""Answers to requests that are cut off when the server stops."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from stagegate.errors import EngineDeadError
from stagegate.server.http.errors import api_error

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from stagegate.server.http.serving import Serving


class CutOffAnswers:
    """ASGI middleware: ends the requests that uvicorn cancels when the server stops.

    Without it each would be an exception of the application: a 500 and a traceback.
    """

    def __init__(self, app: ASGIApp, *, serving: Serving) -> None:
        self._app = app
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:
            if scope["type"] != "http" or not self._serving.draining:
                raise
            error = api_error(EngineDeadError("the server shut down before this was done"))
            with suppress(asyncio.CancelledError):  # a client that reads nothing keeps waiting
                if started:
                    event = f"data: {error.to_json()}\n\n".encode()
                    await send({"type": "http.response.body", "body": event})
                else:
                    await error.response()(scope, receive, send)
