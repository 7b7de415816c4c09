"""HTTP responses that are generated while they are sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from starlette.responses import Response

from stagegate.server.http.auth import client_of
from stagegate.server.http.faults import ERROR_STATUS, answer_to
from stagegate.server.http.lifetime import ClientDisconnectedError, time_limit, while_connected
from stagegate.server.openai.streaming import EventStream, error_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel
    from starlette.types import Message, Receive, Scope, Send

    from stagegate.outputs import RequestDelta
    from stagegate.server.http.errors import ApiError
    from stagegate.server.http.lifetime import Name
    from stagegate.server.http.serving import Serving
    from stagegate.server.openai.generation import Generation, NumberedDelta


class Answer(Protocol):
    """Collects deltas into one body."""

    def add(self, prompt_index: int, delta: RequestDelta) -> None: ...

    def body(self) -> BaseModel: ...


class Events(Protocol):
    """Turns deltas into server-sent events."""

    def of(self, prompt_index: int, delta: RequestDelta) -> str:
        """Events of one delta; empty if there is nothing to send yet."""

    def end(self) -> str:
        """The events after the last delta."""


class AnswerResponse(Response):
    """One body, sent when it is complete.

    Errors are raised, for the application to answer.
    """

    def __init__(self, serving: Serving, generation: Generation, answer: Answer) -> None:
        super().__init__()
        self._serving = serving
        self._generation = generation
        self._collected = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with _running(self._serving, self._generation, scope, receive) as deltas:
                async for index, delta in deltas:
                    self._collected.add(index, delta)
            response = Response(
                self._collected.body().model_dump_json(exclude_unset=True),
                headers={"x-request-id": _id_of(self._generation)},
                media_type="application/json",
            )
            await response(scope, receive, _to_client(send))
        except ClientDisconnectedError:
            return


class StreamResponse(Response):
    """Events, sent as they are generated.

    Nothing is sent before the first token, so an error before it has its own status, and is raised
    for the application to answer. A later error is an event; the stream ends without [DONE], and
    counts as a response with the error's status.

    failure: makes the event of an error, if it differs from that of the OpenAI API's chunks.
    """

    def __init__(
        self,
        serving: Serving,
        generation: Generation,
        events: Events,
        *,
        failure: Callable[[ApiError], str] = error_event,
    ) -> None:
        super().__init__()
        self._serving = serving
        self._generation = generation
        self._events = events
        self._failure = failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"x-request-id", _id_of(self._generation).encode())]
        stream = EventStream(_to_client(send), headers)
        try:
            await self._write(stream, scope, receive)
        except ClientDisconnectedError:
            return
        except Exception as error:
            if not stream.started:
                raise
            answer = answer_to(error, self._generation.request_id)
            scope[ERROR_STATUS] = answer.status
            with suppress(ClientDisconnectedError):
                await stream.close(self._failure(answer))

    async def _write(self, stream: EventStream, scope: Scope, receive: Receive) -> None:
        async with _running(self._serving, self._generation, scope, receive) as deltas:
            async for index, delta in deltas:
                events = self._events.of(index, delta)
                if events:
                    await stream.write(events)
        await stream.close(self._events.end())


def _to_client(send: Send) -> Send:
    """`send` that raises ClientDisconnectedError in place of the HTTP server's OSError."""

    async def sent(message: Message) -> None:
        try:
            await send(message)
        except OSError as error:
            msg = "the client closed the connection"
            raise ClientDisconnectedError(msg) from error

    return sent


@asynccontextmanager
async def _running(
    serving: Serving, generation: Generation, scope: Scope, receive: Receive
) -> AsyncIterator[AsyncIterator[NumberedDelta]]:
    """The deltas of a generation, ended by disconnection, timeout or cancellation."""
    client = client_of(scope)
    names: list[Name] = [(None, generation.request_id)]
    if generation.client_id is not None:
        names.append((client, generation.client_id))
    requests = [(generation.model.client, engine_id) for engine_id in generation.engine_ids]
    with serving.clients.slot(client), serving.open_requests.entry(names, requests):
        async with (
            time_limit(serving.settings.request_timeout_s),
            while_connected(receive),
            aclosing(_observed(serving, generation)) as deltas,
        ):
            yield deltas


async def _observed(
    serving: Serving, generation: Generation
) -> AsyncGenerator[NumberedDelta, None]:
    async with aclosing(generation.deltas()) as deltas:
        async for index, delta in deltas:
            if delta.finished:
                serving.metrics.observe(generation.model.name, delta, generation.params)
            yield index, delta


def _id_of(generation: Generation) -> str:
    return generation.client_id or generation.request_id
