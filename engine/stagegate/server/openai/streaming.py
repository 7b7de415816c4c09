"""Server-sent events: one JSON object per event, [DONE] at the end."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from starlette.types import Send

    from stagegate.server.http.errors import ApiError
    from stagegate.server.openai.protocol import GenerationFields
    from stagegate.server.openai.responses import UsageInfo

DONE: Final = "data: [DONE]\n\n"
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
)

to_json: Final = json.JSONEncoder(separators=(",", ":")).encode


def _escape(error: UnicodeError) -> tuple[str, int]:
    """JSON in ASCII: characters outside ASCII, which occur only in strings, are escaped."""
    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


_JSON_ESCAPES: Final = "stagegate.json_escapes"
codecs.register_error(_JSON_ESCAPES, _escape)


class StreamUsage(NamedTuple):
    """Whether a stream ends with the usage, and whether every chunk has the usage so far."""

    included: bool
    continuous: bool


def stream_usage(request: GenerationFields) -> StreamUsage:
    """The settings in stream_options; without include_usage no chunk has a usage."""
    options = request.stream_options
    included = bool(options and options.include_usage)
    return StreamUsage(included, included and bool(options and options.continuous_usage_stats))


class ChunkTemplate:
    """The events of one stream, which differ only in their choice.

    Each token is an event, so everything except its text is serialised only once.
    """

    def __init__(
        self, request_id: str, kind: str, created: int, model: str, usage: StreamUsage
    ) -> None:
        fields = {"id": request_id, "object": kind, "created": created, "model": model}
        shared = to_json(fields)[:-1]
        self._before = f'data: {shared},"choices":[{{"index":'
        # With include_usage every chunk has the field, as OpenAI's have.
        self._after = '}],"usage":null}\n\n' if usage.included else "}]}\n\n"
        self._usage = f'data: {shared},"choices":[],"usage":'
        self._options = usage

    @property
    def counts(self) -> bool:
        """Whether every chunk has the usage."""
        return self._options.continuous

    def count(self, usage: UsageInfo) -> None:
        """Set the usage for the following chunks."""
        self._after = f'}}],"usage":{usage.model_dump_json()}}}\n\n'

    def event(self, index: int, fields: str) -> str:
        """fields: the fields of the choice except its index, as JSON without braces."""
        return f"{self._before}{index},{fields}{self._after}"

    def end(self, usage: UsageInfo) -> str:
        """The events after the last choice."""
        if not self._options.included:
            return DONE
        return f"{self._usage}{usage.model_dump_json()}}}\n\n{DONE}"


class EventStream:
    """The body of a response, written incrementally. Its status is sent with the first event.

    It is always ASCII, because some clients split events at Unicode line ends, such as U+2028,
    which JSON does not escape.
    """

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self.started = False
        self._send = send
        self._headers = headers

    async def write(self, events: str) -> None:
        """Write events; waits while the client does not read."""
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
    """The last event of a failed stream whose status has already been sent."""
    return f"data: {error.to_json()}\n\n"
