"""Server-sent events of a response, checked against the models of the chunks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

Chunk = TypeVar("Chunk", bound=BaseModel)


def chunks(response: httpx.Response, kind: type[Chunk]) -> Iterator[Chunk]:
    """Every chunk of a stream, which must end with [DONE] and nothing after it."""
    payloads = list(payloads_of(response))
    assert payloads[-1] == "[DONE]"
    for payload in payloads[:-1]:
        yield kind.model_validate(json.loads(payload), strict=True)


def payloads_of(response: httpx.Response) -> Iterator[str]:
    """The text after "data: " in each event; an event is one line and an empty line."""
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.read().decode("ascii").split("\n\n")
    assert events.pop() == ""
    for event in events:
        assert event.startswith("data: ")
        assert "\n" not in event
        yield event.removeprefix("data: ")


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error object, which must have exactly its fields."""
    body = response.json()
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    return error
