"""Output items while they are generated, and the events that report their growth."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from stagegate.server.openai.streaming import to_json
from stagegate.server.responses_api.response_object import (
    FunctionCall,
    Message,
    OutputText,
    Reasoning,
    ReasoningText,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

    from stagegate.server.openai.responses import ChatTokenLogprob
    from stagegate.server.responses_api.response_object import ItemStatus, OutputItem


class Event(NamedTuple):
    """kind: its type. fields: all others except its number, as JSON without braces."""

    kind: str
    fields: str


class _Placed:
    """The fields that all events of one item have."""

    def __init__(self, prefix: str, output_index: int) -> None:
        self.id = f"{prefix}_{uuid.uuid4().hex}"
        self._index = f'"output_index":{output_index}'
        self._place = f'"item_id":"{self.id}",{self._index}'

    def _of_item(self, kind: str, item: OutputItem) -> Event:
        return Event(f"response.output_item.{kind}", f'{self._index},"item":{json_of(item)}')

    def _event(self, kind: str, fields: str) -> Event:
        return Event(f"response.{kind}", f"{self._place},{fields}")

    def _part_event(self, kind: str, part: OutputText | ReasoningText) -> Event:
        fields = f'{self._place},"content_index":0,"part":{json_of(part)}'
        return Event(f"response.content_part.{kind}", fields)


class OpenMessage(_Placed):
    def __init__(self, output_index: int) -> None:
        super().__init__("msg", output_index)
        self._text: list[str] = []
        self._logprobs: list[ChatTokenLogprob] = []

    def begin(self) -> Iterator[Event]:
        message = self.item("in_progress")
        message.content = []
        yield self._of_item("added", message)
        yield self._part_event("added", self._part())

    def add(self, text: str, logprobs: list[ChatTokenLogprob]) -> Iterator[Event]:
        self._text.append(text)
        self._logprobs += logprobs
        yield self._event(
            "output_text.delta",
            f'"content_index":0,"delta":{to_json(text)},"logprobs":{_json_of_all(logprobs)}',
        )

    def end(self, status: ItemStatus) -> Iterator[Event]:
        part = self._part()
        text, logprobs = to_json(part.text), _json_of_all(part.logprobs)
        yield self._event(
            "output_text.done", f'"content_index":0,"text":{text},"logprobs":{logprobs}'
        )
        yield self._part_event("done", part)
        yield self._of_item("done", self.item(status))

    def item(self, status: ItemStatus) -> Message:
        return Message(
            id=self.id, type="message", status=status, role="assistant", content=[self._part()]
        )

    def _part(self) -> OutputText:
        return OutputText(
            type="output_text",
            text="".join(self._text),
            annotations=[],
            logprobs=self._logprobs,
        )


class OpenReasoning(_Placed):
    def __init__(self, output_index: int) -> None:
        super().__init__("rs", output_index)
        self._text: list[str] = []

    def begin(self) -> Iterator[Event]:
        reasoning = self.item("in_progress")
        reasoning.content = []
        yield self._of_item("added", reasoning)
        yield self._part_event("added", self._part())

    def add(self, text: str) -> Iterator[Event]:
        self._text.append(text)
        yield self._event("reasoning_text.delta", f'"content_index":0,"delta":{to_json(text)}')

    def end(self, status: ItemStatus) -> Iterator[Event]:
        part = self._part()
        yield self._event("reasoning_text.done", f'"content_index":0,"text":{to_json(part.text)}')
        yield self._part_event("done", part)
        yield self._of_item("done", self.item(status))

    def item(self, status: ItemStatus) -> Reasoning:
        return Reasoning(
            id=self.id, type="reasoning", status=status, summary=[], content=[self._part()]
        )

    def _part(self) -> ReasoningText:
        return ReasoningText(type="reasoning_text", text="".join(self._text))


class OpenCall(_Placed):
    def __init__(self, output_index: int, call_id: str, name: str) -> None:
        super().__init__("fc", output_index)
        self._call_id = call_id
        self._name = name
        self._arguments: list[str] = []

    def begin(self) -> Iterator[Event]:
        yield self._of_item("added", self.item("in_progress"))

    def add(self, arguments: str) -> Iterator[Event]:
        self._arguments.append(arguments)
        yield self._event("function_call_arguments.delta", f'"delta":{to_json(arguments)}')

    def end(self, status: ItemStatus) -> Iterator[Event]:
        call = self.item(status)
        fields = f'"name":{to_json(call.name)},"arguments":{to_json(call.arguments)}'
        yield self._event("function_call_arguments.done", fields)
        yield self._of_item("done", call)

    def item(self, status: ItemStatus) -> FunctionCall:
        return FunctionCall(
            id=self.id,
            type="function_call",
            status=status,
            call_id=self._call_id,
            name=self._name,
            arguments="".join(self._arguments),
        )


OpenItem = OpenMessage | OpenReasoning | OpenCall


def json_of(model: BaseModel) -> str:
    """In ASCII."""
    return to_json(model.model_dump(exclude_unset=True))


def _json_of_all(logprobs: list[ChatTokenLogprob]) -> str:
    return f"[{','.join(map(json_of, logprobs))}]"
