"""Mapping of exceptions to HTTP statuses and the error object of the OpenAI API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from stagegate.errors import (
    CapacityError,
    EngineDeadError,
    InvalidRequestError,
    QueueFullError,
    StagegateError,
)
from stagegate.server.http.refusals import refusal

RETRY_AFTER_S = 1


class ModelNotFoundError(InvalidRequestError):
    """A request names a model that is not served."""


class RequestNotFoundError(InvalidRequestError):
    """A request to be cancelled has ended, or never existed."""


class TooManyRequestsError(StagegateError):
    """A client has reached its limit of open requests."""


class RequestTimeoutError(StagegateError):
    """A request took longer than the server allows."""


@dataclass(frozen=True, slots=True)
class ApiError:
    """An error as the client sees it: the status and the fields of the error object."""

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """{"error": {...}} in ASCII, because a message may quote text that is not valid UTF-8."""
        return json.dumps(
            {
                "error": {
                    "message": self.message,
                    "type": self.type,
                    "param": self.param,
                    "code": self.code,
                }
            }
        )

    def response(self) -> Response:
        return Response(
            self.to_json(),
            status_code=self.status,
            headers=dict(self.headers),
            media_type="application/json",
        )


# Exceptions of the engine and the server: class, status, type, code. The first match is used.
_RAISED: tuple[tuple[type[StagegateError], int, str, str | None], ...] = (
    (CapacityError, 400, "invalid_request_error", "context_length_exceeded"),
    (ModelNotFoundError, 404, "invalid_request_error", "model_not_found"),
    (RequestNotFoundError, 404, "invalid_request_error", "request_not_found"),
    (InvalidRequestError, 400, "invalid_request_error", None),
    (QueueFullError, 429, "rate_limit_error", "queue_full"),
    (TooManyRequestsError, 429, "rate_limit_error", "too_many_requests"),
    (RequestTimeoutError, 504, "timeout_error", "timeout"),
    (EngineDeadError, 503, "server_error", "engine_dead"),
    (StagegateError, 500, "server_error", "engine_error"),
)


def api_error(error: Exception) -> ApiError:
    """The error that a client sees for an exception; unknown classes are a 500."""
    if isinstance(error, RequestValidationError):
        message, parameter = refusal(error.errors(), error.body)
        return ApiError(400, message, param=parameter)
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, _sentence(error), headers=error.headers or {})
    for known, status, kind, code in _RAISED:
        if isinstance(error, known):
            param: str | None = getattr(error, "parameter", None)
            headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 429 else {}
            return ApiError(status, str(error), kind, param, code, headers)
    return ApiError(500, "internal error; see the server's log", type="server_error")


def _sentence(error: HTTPException) -> str:
    if error.detail == HTTPStatus(error.status_code).phrase:  # Starlette's own
        return {404: "no such path", 405: "the path does not take this method"}.get(
            error.status_code, error.detail
        )
    return error.detail
