"""Faults of the server: answered with an error object, counted and logged."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Final

from stagegate.errors import (
    ArgumentError,
    ContiguityError,
    DeviceError,
    DTypeError,
    OutOfMemoryError,
    ShapeError,
)
from stagegate.server.http.errors import ApiError, api_error

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Key in a scope of the status of an error after the headers; this status is counted.
ERROR_STATUS: Final = "stagegate.error_status"

# Their messages are about tensors and devices. All others may quote the request.
_OF_THE_CORE = (
    *(ShapeError, DTypeError, DeviceError),
    *(ContiguityError, ArgumentError, OutOfMemoryError),
)

_logger = logging.getLogger(__name__)


def answer_to(error: Exception, subject: str) -> ApiError:
    """The error that a client sees for an exception; a fault of the server is logged.

    subject: the id of a request or a route, for the log.
    """
    answer = api_error(error)
    if answer.status == 500:
        _logger.error("%s failed\n%s", subject, report(error))
    return answer


def report(error: BaseException) -> str:
    """The traceback of an exception and of its causes, without users' text."""
    parts: list[str] = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        message = f": {cause}" if isinstance(cause, _OF_THE_CORE) else ""
        frames = "".join(traceback.format_tb(cause.__traceback__))
        parts.append(f"{frames}{type(cause).__module__}.{type(cause).__qualname__}{message}")
        context = None if cause.__suppress_context__ else cause.__context__
        cause = cause.__cause__ or context
    return "\nThe cause of this:\n".join(parts[::-1])


class AnswerFaults:
    """ASGI middleware: answers exceptions that nothing else handles.

    Starlette's own middleware passes them on to the HTTP server, which logs their messages.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            answer = answer_to(error, subject_of(scope))
            if started:  # the HTTP server cuts off what is not complete
                scope[ERROR_STATUS] = answer.status
            else:
                await answer.response()(scope, receive, send)


def subject_of(scope: Scope) -> str:
    """Method and route of a request, without its path, which is the client's text."""
    return f"{scope['method']} {getattr(scope.get('route'), 'path', 'unmatched')}"
