"""Conversion of engine deltas to the output items of a response."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stagegate.server.openai.generation import UsageCount
from stagegate.server.openai.logprobs import chat_logprobs
from stagegate.server.responses_api.open_items import OpenCall, OpenMessage, OpenReasoning
from stagegate.server.responses_api.response_object import (
    IncompleteDetails,
    InputTokensDetails,
    OutputTokensDetails,
    Reasoning,
    Response,
    ResponseUsage,
)
from stagegate.server.responses_api.tokens_of_text import TokensOfText, last_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stagegate.outputs import ChoiceDelta, RequestDelta
    from stagegate.server.openai.chat_output import ChatForm
    from stagegate.server.openai.message_reader import MessagePart
    from stagegate.server.openai.responses import ChatTokenLogprob
    from stagegate.server.responses_api.open_items import Event, OpenItem
    from stagegate.server.responses_api.response_object import (
        ItemStatus,
        OutputItem,
        ResponseError,
        Status,
    )
    from stagegate.server.responses_api.tokens_of_text import ReadToken
    from stagegate.text.tool_calls import ToolCallDelta

# Final status by the finish reason of the text; None means that it ended before it began.
_STATUS: dict[str | None, Status] = {
    "length": "incomplete",
    "abort": "cancelled",
    None: "cancelled",
}

# A delta may contain the end of one item, a tag, and the beginning of the next item.
_PIECE = re.compile("<[^<>]*>?|[^<>]*>|[^<>]+")


class ResponseOutput:
    """Reads the text of a response into items: reasoning, messages and calls.

    One item is open at a time; text of another kind ends it and begins the next.
    settings: fields of the response that come from the request.
    """

    def __init__(self, form: ChatForm, settings: dict[str, Any]) -> None:
        self._form = form
        self._settings = settings
        self._reader = form.reader()
        self._usage = UsageCount()
        self._items: list[OutputItem] = []
        self._open: OpenItem | None = None
        self._finish_reason: str | None = None
        self._tokenizer = form.generation.model.client.tokenizer
        self._tokens = TokensOfText(self._tokenizer)
        self._counts_tokens = form.reasoning or form.generation.params.logprobs is not None
        self._held: list[ReadToken] = []  # those whose text is of no item yet
        self._num_read = 0
        self._reasoning_tokens = 0

    def add(self, prompt_index: int, delta: RequestDelta) -> Iterator[Event]:
        self._usage.add(prompt_index, delta)
        for gained in delta.choices:
            yield from self._add(gained)

    def end(self) -> Iterator[Event]:
        """End the text. An empty text is an empty message."""
        completed = self._status == "completed"
        if completed and (self._open is None or isinstance(self._open, OpenReasoning)):
            yield from self._begin(OpenMessage(self._next_index))
        self._held += self._tokens.rest()  # such as the token that ended the text
        if isinstance(self._open, OpenMessage) and (logprobs := self._logprobs(self._held)):
            yield from self._open.add("", logprobs)
        yield from self._close("completed" if completed else "incomplete")

    def begun(self) -> Response:
        """Before anything has come."""
        return self._response("in_progress")

    def ended(self) -> Response:
        return self._response(self._status)

    def failed(self, error: ResponseError) -> Response:
        """With what has come so far."""
        if self._open is not None:
            self._items.append(self._open.item("incomplete"))
            self._open = None
        return self._response("failed", error)

    @property
    def _status(self) -> Status:
        return _STATUS.get(self._finish_reason, "completed")

    @property
    def _next_index(self) -> int:
        return len(self._items) + (self._open is not None)

    def _add(self, gained: ChoiceDelta) -> Iterator[Event]:
        self._finish_reason = gained.finish_reason
        if self._counts_tokens:
            self._tokens.add(gained.token_ids, gained.logprobs)
        if self._reader is None:
            self._held += self._tokens.take(gained.text)
            if gained.text:
                yield from self._say(gained.text)
            return
        for piece in _pieces(gained):
            part = self._reader.read(piece)
            taken = self._tokens.take(piece.text)
            self._held += taken
            self._num_read += len(taken)
            if part.reasoning:
                self._reasoning_tokens = self._num_read
            yield from self._items_of(part)

    def _items_of(self, part: MessagePart) -> Iterator[Event]:
        if part.reasoning:
            yield from self._think(part.reasoning)
        if part.content:
            yield from self._say(part.content)
        for call in part.calls:
            yield from self._call(call)

    def _think(self, text: str) -> Iterator[Event]:
        self._held.clear()
        item = self._open
        if not isinstance(item, OpenReasoning):
            item = OpenReasoning(self._next_index)
            yield from self._begin(item)
        yield from item.add(text)

    def _say(self, text: str) -> Iterator[Event]:
        item = self._open
        if not isinstance(item, OpenMessage):
            item = OpenMessage(self._next_index)
            yield from self._begin(item)
        # What comes before the text is a tag, and white space around it.
        tokens = self._held if self._reader is None else last_tokens(self._held, text)
        yield from item.add(text, self._logprobs(tokens))
        self._held.clear()

    def _call(self, call: ToolCallDelta) -> Iterator[Event]:
        self._held.clear()
        item = self._open
        if call.name is not None or not isinstance(item, OpenCall):
            item = OpenCall(self._next_index, call.id or "", call.name or "")
            yield from self._begin(item)
        if call.arguments:
            yield from item.add(call.arguments)

    def _logprobs(self, tokens: list[ReadToken]) -> list[ChatTokenLogprob]:
        """Empty where the request does not include them."""
        entries = [token.logprobs for token in tokens if token.logprobs is not None]
        return chat_logprobs(self._tokenizer, entries)

    def _begin(self, item: OpenItem) -> Iterator[Event]:
        yield from self._close("completed")
        self._open = item
        yield from item.begin()

    def _close(self, status: ItemStatus) -> Iterator[Event]:
        if self._open is not None:
            self._items.append(self._open.item(status))
            yield from self._open.end(status)
            self._open = None

    def _response(self, status: Status, error: ResponseError | None = None) -> Response:
        generation = self._form.generation
        cut = status == "incomplete"
        return Response(
            id=generation.request_id,
            object="response",
            created_at=generation.created,
            completed_at=int(time.time()) if status == "completed" else None,
            status=status,
            error=error,
            incomplete_details=IncompleteDetails(reason="max_output_tokens") if cut else None,
            model=generation.model.name,
            output=self._items,
            usage=None if status == "in_progress" else self._response_usage(),
            **self._settings,
        )

    def _response_usage(self) -> ResponseUsage:
        usage = self._usage.total()
        thought = any(isinstance(item, Reasoning) for item in self._items)
        return ResponseUsage(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=InputTokensDetails(
                cached_tokens=usage.prompt_tokens_details.cached_tokens, cache_write_tokens=0
            ),
            output_tokens=usage.completion_tokens,
            output_tokens_details=OutputTokensDetails(
                reasoning_tokens=self._reasoning_tokens if thought else 0
            ),
            total_tokens=usage.total_tokens,
        )


def _pieces(gained: ChoiceDelta) -> list[ChoiceDelta]:
    """A delta in parts that are of one item each."""
    *texts, last = _PIECE.findall(gained.text) or [""]
    return [
        *(replace(gained, text=text, finish_reason=None) for text in texts),
        replace(gained, text=last),
    ]
