"""The parts of a message in the text a model generates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.reasoning import ReasoningSplitter
from engine.tool_calls import CLOSE, ToolCallParser

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
        self._tools = tools
        # A forced call begins in the prompt: there is nothing to think about.
        self._reasoning: ReasoningSplitter | None = None
        if reasoning and not tools.forced:
            self._reasoning = ReasoningSplitter(inside=thinking)
        self._calls = ToolCallParser() if tools.tools is not None else None
        self._ahead = tools.prefix

    def read(self, gained: ChoiceDelta) -> MessagePart:
        part = MessagePart()
        text, self._ahead = self._ahead + gained.text, ""
        if gained.finish_reason == "stop":
            if self._tools.forced:
                text += self._tools.suffix
            elif not self._tools.parallel and gained.stop_reason == CLOSE:
                # It is in the text already when stop strings are to stay.
                text = text.removesuffix(CLOSE)
                text += CLOSE
        self._split(text, part, ended=gained.finish_reason is not None)
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
