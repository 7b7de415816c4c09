"""The parts of a message in the text a model generates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.reasoning import ReasoningSplitter
from engine.tool_calls import ToolCallParser

if TYPE_CHECKING:
    from engine.outputs import ChoiceDelta
    from engine.server.tool_choice import ToolChoice
    from engine.tool_calls import ToolCallDelta


@dataclass(slots=True)
class MessagePart:
    """What a piece of text brought."""

    content: str = ""
    reasoning: str = ""
    calls: list[ToolCallDelta] = field(default_factory=list)


class MessageReader:
    """Reads the text of one choice.

    reasoning: split <think>...</think> off. thinking: the prompt ends with the open tag.
    """

    def __init__(self, tools: ToolChoice, *, reasoning: bool, thinking: bool) -> None:
        self.has_calls = False
        self._reasoning = ReasoningSplitter(inside=thinking) if reasoning else None
        self._calls = ToolCallParser() if tools.tools is not None else None

    def read(self, gained: ChoiceDelta) -> MessagePart:
        part = MessagePart()
        self._split(gained.text, part, ended=gained.finish_reason is not None)
        self.has_calls = self.has_calls or bool(part.calls)
        return part

    def _split(self, text: str, part: MessagePart, *, ended: bool) -> None:
        if self._reasoning is not None:
            part.reasoning, text = self._reasoning.push(text)
            if ended:
                reasoning, rest = self._reasoning.flush()
                part.reasoning += reasoning
                text += rest
        if self._calls is None:
            part.content = text
            return
        part.content, part.calls = self._calls.push(text)
        if ended:
            content, calls = self._calls.flush()
            part.content += content
            part.calls = [*part.calls, *calls]
