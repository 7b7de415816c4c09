"""Exceptions to HTTP statuses and the error object of the OpenAI API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from engine.errors import (
    CapacityError,
    EngineDeadError,
    InvalidRequestError,
    QueueFullError,
    StagegateError,
)

RETRY_AFTER_S = 1
_SHOWN_PROBLEMS = 3


class ModelNotFoundError(StagegateError):
    """A request names a model that is not served."""


class RequestNotFoundError(StagegateError):
    """A request to be cancelled has ended, or never was."""


class TooManyRequestsError(StagegateError):
    """A client has as many requests open as it may have."""


class RequestTimeoutError(StagegateError):
    """A request took longer than the server allows."""


@dataclass(frozen=True, slots=True)
class ApiError:
    """What a client sees of an error: the status and the fields of the error object."""

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """{"error": {...}} in ASCII: a message may quote text that has no UTF-8 form."""
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


def api_error(error: Exception) -> ApiError:
    """The error a client sees for an exception; what is not known by class is a 500."""
    if isinstance(error, InvalidRequestError):
        code = "context_length_exceeded" if isinstance(error, CapacityError) else None
        return ApiError(400, str(error), param=error.parameter, code=code)
    if isinstance(error, RequestValidationError):
        return _of_problems(error.errors())
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, _sentence(error), headers=error.headers or {})
    if isinstance(error, ModelNotFoundError):
        return ApiError(404, str(error), param="model", code="model_not_found")
    if isinstance(error, RequestNotFoundError):
        return ApiError(404, str(error), param="request_id", code="request_not_found")
    if isinstance(error, QueueFullError | TooManyRequestsError):
        code = "queue_full" if isinstance(error, QueueFullError) else "too_many_requests"
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        return ApiError(429, str(error), type="rate_limit_error", code=code, headers=headers)
    if isinstance(error, RequestTimeoutError):
        return ApiError(504, str(error), type="timeout_error", code="timeout")
    if isinstance(error, EngineDeadError):
        return ApiError(503, str(error), type="server_error", code="engine_dead")
    if isinstance(error, StagegateError):
        return ApiError(500, str(error), type="server_error", code="engine_error")
    return ApiError(500, "internal error; see the server's log", type="server_error")


def _of_problems(problems: Sequence[Mapping[str, Any]]) -> ApiError:
    """Of what pydantic found wrong with a body."""
    names = [_name(problem) for problem in problems]
    message = "; ".join(
        _problem(name, problem) for name, problem in list(zip(names, problems, strict=True))[:_SHOWN_PROBLEMS]
    )
    if len(problems) > _SHOWN_PROBLEMS:
        message += f"; and {len(problems) - _SHOWN_PROBLEMS} more"
    return ApiError(400, message, param=names[0] or None)


def _name(problem: Mapping[str, Any]) -> str:
    place = problem["loc"]
    # The position in the text, where the body is not JSON at all, is not a field.
    return "" if problem["type"] == "json_invalid" else ".".join(str(part) for part in place[1:])


def _problem(name: str, problem: Mapping[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        return f"unknown or unsupported field {name!r}"
    if problem["type"] == "json_invalid":
        return f"the body is not JSON: {problem['ctx']['error']} at character {problem['loc'][1]}"
    subject = name or "the body, which must be JSON with content type application/json"
    return f"{subject}: {problem['msg']}"


def _sentence(error: HTTPException) -> str:
    if error.detail == HTTPStatus(error.status_code).phrase:  # Starlette's own
        return {404: "no such path", 405: "the path does not take this method"}.get(
            error.status_code, error.detail
        )
    return error.detail
