"""Server-sent events: one JSON object an event, [DONE] at the end."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.types import Send

    from engine.server.errors import ApiError
    from engine.server.responses import UsageInfo

DONE: Final = "data: [DONE]\n\n"
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
)

to_json: Final = json.JSONEncoder(separators=(",", ":")).encode


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Characters outside ASCII as JSON escapes, which is where JSON has them: in strings."""
    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


_JSON_ESCAPES: Final = "stagegate.json_escapes"
codecs.register_error(_JSON_ESCAPES, _escape)


class ChunkTemplate:
    """The events of one stream, which differ in their choice alone.

    A token is an event, so all but its text is written once.
    """

    def __init__(
        self, request_id: str, kind: str, created: int, model: str, *, include_usage: bool
    ) -> None:
        fields = {"id": request_id, "object": kind, "created": created, "model": model}
        shared = to_json(fields)[:-1]
        self._before = f'data: {shared},"choices":[{{"index":'
        # With include_usage every chunk has the field, as OpenAI's have.
        self._after = '}],"usage":null}\n\n' if include_usage else "}]}\n\n"
        self._usage = f'data: {shared},"choices":[],"usage":'
        self._include_usage = include_usage

    def event(self, index: int, fields: str) -> str:
        """fields: those of the choice beside its index, as JSON without braces."""
        return f"{self._before}{index},{fields}{self._after}"

    def end(self, usage: UsageInfo) -> str:
        """What follows the last choice."""
        if not self._include_usage:
            return DONE
        return f"{self._usage}{usage.model_dump_json()}}}\n\n{DONE}"


class EventStream:
    """The body of a response, written as it comes. Its status is sent with the first event.

    It is ASCII, whatever is written: some clients split events at line ends of Unicode, such as
    U+2028, which JSON leaves as is.
    """

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self.started = False
        self._send = send
        self._headers = headers

    async def write(self, events: str) -> None:
        """Waits while the client does not read."""
        if not self.started:
            self.started = True
            headers = [*_HEADERS, *self._headers]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        body = events.encode("ascii", errors=_JSON_ESCAPES)
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def close(self, events: str) -> None:
        """Write the last events."""
        await self.write(events)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def error_event(error: ApiError) -> str:
    """The last event of a stream that failed: its status has gone out already."""
    return f"data: {error.to_json()}\n\n"
