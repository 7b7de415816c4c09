"""How long a request lives: until it is done, too late, cancelled, or its client is gone."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from engine.errors import StagegateError
from engine.server.errors import RequestTimeoutError

if TYPE_CHECKING:
    from starlette.types import Receive

    from engine.async_llm import AsyncLLM


class ClientDisconnectedError(StagegateError):
    """The client closed its connection before it had its answer."""


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """Cancel the block after that long and raise RequestTimeoutError."""
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
    """Cancel the block when the client goes and raise ClientDisconnectedError."""
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
    """The requests that generate now, by the ids under which they can be cancelled."""

    def __init__(self) -> None:
        self._engine_ids: dict[str, list[tuple[AsyncLLM, str]]] = defaultdict(list)

    @contextmanager
    def entry(self, ids: set[str], llm: AsyncLLM, engine_ids: Sequence[str]) -> Iterator[None]:
        """ids: names of the request; two may share one, and are cancelled together then."""
        entries = [(llm, engine_id) for engine_id in engine_ids]
        for name in ids:
            self._engine_ids[name] += entries
        try:
            yield
        finally:
            for name in ids:
                left = [entry for entry in self._engine_ids[name] if entry not in entries]
                if left:
                    self._engine_ids[name] = left
                else:
                    del self._engine_ids[name]

    async def cancel(self, name: str) -> bool:
        """End the requests of that name; they answer with what they have. False if none runs."""
        entries = self._engine_ids.get(name, [])
        ended = [await llm.abort(engine_id) for llm, engine_id in list(entries)]
        return any(ended)
