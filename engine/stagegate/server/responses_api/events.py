"""The two forms of an answer: a complete response, or a stream of events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagegate.server.openai.streaming import to_json
from stagegate.server.responses_api.open_items import Event, json_of
from stagegate.server.responses_api.response_object import ResponseError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stagegate.outputs import RequestDelta
    from stagegate.server.http.errors import ApiError
    from stagegate.server.responses_api.output import ResponseOutput
    from stagegate.server.responses_api.response_object import Response


class ResponseAnswer:
    """Collects a response."""

    def __init__(self, output: ResponseOutput) -> None:
        self._output = output

    def add(self, prompt_index: int, delta: RequestDelta) -> None:
        for _ in self._output.add(prompt_index, delta):
            pass

    def body(self) -> Response:
        for _ in self._output.end():
            pass
        return self._output.ended()


class ResponseEvents:
    """Writes numbered events: the response begins, its items grow, the response ends."""

    def __init__(self, output: ResponseOutput) -> None:
        self._output = output
        self._number = 0

    def of(self, prompt_index: int, delta: RequestDelta) -> str:
        return self._begin() + self._written(self._output.add(prompt_index, delta))

    def end(self) -> str:
        items = self._begin() + self._written(self._output.end())
        response = self._output.ended()
        # There is no event for a response that was cancelled; its status says it.
        kind = "completed" if response.status == "completed" else "incomplete"
        return items + self._lifecycle(kind, response)

    def failure(self, error: ApiError) -> str:
        """Two events, as OpenAI sends: some clients know the first alone, some the second. The
        first has its fields twice, for they are read from both places."""
        fields = {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
        shown = {"message": error.message, "param": error.param, "code": error.code}
        event = Event("error", to_json(shown | {"error": fields})[1:-1])
        failed = self._output.failed(ResponseError(code="server_error", message=error.message))
        return self._written([event]) + self._lifecycle("failed", failed)

    def _begin(self) -> str:
        if self._number:
            return ""
        response = self._output.begun()
        return self._lifecycle("created", response) + self._lifecycle("in_progress", response)

    def _lifecycle(self, kind: str, response: Response) -> str:
        return self._written([Event(f"response.{kind}", f'"response":{json_of(response)}')])

    def _written(self, events: Iterable[Event]) -> str:
        lines = []
        for kind, fields in events:
            numbered = f'{{"type":"{kind}","sequence_number":{self._number},{fields}}}'
            lines.append(f"event: {kind}\ndata: {numbered}\n\n")
            self._number += 1
        return "".join(lines)
