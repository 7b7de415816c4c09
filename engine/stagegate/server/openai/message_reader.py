"""Parsing of generated text into the parts of a message."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stagegate.text.reasoning import ReasoningSplitter
from stagegate.text.tool_calls import ToolCallParser

if TYPE_CHECKING:
    from stagegate.outputs import ChoiceDelta
    from stagegate.server.openai.tool_choice import ToolChoice
    from stagegate.text.tool_calls import ToolCallDelta


@dataclass(slots=True)
class MessagePart:
    """The parts found in a piece of text."""

    content: str = ""
    reasoning: str = ""
    calls: list[ToolCallDelta] = field(default_factory=list)


class MessageReader:
    """Reads the text of one choice: reasoning first, then content and calls.

    reasoning: separate <think>...</think>. thinking: the prompt ends with the open tag.
    """

    def __init__(self, tools: ToolChoice, *, reasoning: bool, thinking: bool) -> None:
        self._reasoning = ReasoningSplitter(inside=thinking) if reasoning else None
        self._calls: ToolCallParser | None = None
        if tools.tools is not None:
            self._calls = ToolCallParser(forced=tools.forced, name=tools.name)

    @property
    def has_whole_calls(self) -> bool:
        """Whether there are calls and none was cut off."""
        return self._calls is not None and self._calls.num_calls > 0 and self._calls.complete

    def read(self, gained: ChoiceDelta) -> MessagePart:
        ended = gained.finish_reason is not None
        part = MessagePart(gained.text)
        if self._reasoning is not None:
            part.reasoning, part.content = self._reasoning.push(part.content)
            if ended:
                reasoning, content = self._reasoning.flush()
                part.reasoning += reasoning
                part.content += content
        if self._calls is not None:
            part.content, part.calls = self._calls.push(part.content)
            if ended:
                content, calls = self._calls.flush()
                part.content += content
                part.calls += calls
        return part
