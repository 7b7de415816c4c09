"""Errors and streams in the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from stagegate.server.openai.responses import ErrorResponse

if TYPE_CHECKING:
    from fastapi import FastAPI
    from pydantic import BaseModel

_MEANINGS = {
    400: "The request is not valid; error.param names the field.",
    401: "No valid API key.",
    404: "There is no such model, request or path.",
    405: "The path does not take this method.",
    408: "The body did not arrive in time.",
    413: "The body is too long.",
    429: "The queue is full, or the client has too many requests open; see Retry-After.",
    500: "The engine failed on this request.",
    503: "The engine is dead, stalled, or shutting down.",
    504: "The request took too long and was cancelled.",
}
# Errors of any request with a body, before its route is called.
REFUSALS = (400, 401, 408, 413)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may return these errors."""
    return {
        status: {"model": ErrorResponse, "description": _MEANINGS[status]} for status in statuses
    }


def streaming(chunk: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The streamed form of the answer: events, each with a chunk."""
    return events(f"The answer; with stream, events with a {chunk.__name__} each.")


def events(description: str) -> dict[int | str, dict[str, Any]]:
    """An answer that may be a stream of events.

    It has no schema, because tools apply a schema to the whole stream or to each event.
    """
    return {200: {"description": description, "content": {"text/event-stream": {}}}}


def text(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    """An answer that is not JSON."""
    content = {media_type: {"schema": {"type": "string"}}}
    return {200: {"description": description, "content": content}}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, without FastAPI's 422, which is a 400 here."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        for path in schema["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        for unused in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(unused, None)
        app.openapi_schema = schema
    return app.openapi_schema
