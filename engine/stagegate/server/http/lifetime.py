"""The end of a request: completion, timeout, cancellation or disconnection of its client."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from stagegate.errors import StagegateError
from stagegate.server.http.errors import RequestTimeoutError

if TYPE_CHECKING:
    from starlette.types import Receive

    from stagegate.serving.client import EngineClient

# A client and its own id for the request; or no client, and the id of an answer.
Name = tuple[str | None, str]
EngineRequest = tuple["EngineClient", str]


class ClientDisconnectedError(StagegateError):
    """The client closed its connection before the answer was complete."""


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """Cancel the block after the timeout and raise RequestTimeoutError."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        msg = f"the request took longer than {seconds:g} s and was cancelled"
        raise RequestTimeoutError(msg) from error


@asynccontextmanager
async def while_connected(receive: Receive) -> AsyncIterator[None]:
    """Cancel the block when the client disconnects and raise ClientDisconnectedError."""
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def listen() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass  # nothing of the body is left
        gone = True
        task.cancel()

    listener = asyncio.create_task(listen())
    try:
        yield
    except asyncio.CancelledError as error:
        if gone and task.uncancel() == 0:
            msg = "the client closed the connection"
            raise ClientDisconnectedError(msg) from error
        raise
    finally:
        listener.cancel()


class OpenRequests:
    """The running requests, by the names under which they can be cancelled.

    A name is either the id of an answer, which is hard to guess and valid for any client, or a
    client with its own id for the request, because two clients may choose the same id.
    """

    def __init__(self) -> None:
        self._running: dict[Name, list[EngineRequest]] = defaultdict(list)

    @contextmanager
    def entry(self, names: Sequence[Name], requests: Sequence[EngineRequest]) -> Iterator[None]:
        """Register a request; if a client reuses an open id, a cancel ends both requests."""
        for name in names:
            self._running[name] += requests
        try:
            yield
        finally:
            for name in names:
                for request in requests:
                    self._running[name].remove(request)
                if not self._running[name]:
                    del self._running[name]

    async def cancel(self, name: Name) -> bool:
        """Cancel the requests of a name; they answer with the text so far. False if none runs."""
        running = list(self._running.get(name, ()))
        ended = [await client.abort(engine_id) for client, engine_id in running]
        return any(ended)
