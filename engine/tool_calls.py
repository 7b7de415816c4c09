"""Calls of tools in the text of a model, in the form Qwen writes them:

<tool_call>
{"name": "weather", "arguments": {"city": "Oslo"}}
</tool_call>
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import uuid4

from engine.tags import split_at_tag

OPEN = "<tool_call>"
CLOSE = "</tool_call>"


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A call, or more of the arguments of one: id and name come with its first delta only.

    index: calls of a message are numbered from 0. arguments: text of a JSON object.
    """

    index: int
    id: str | None
    name: str | None
    arguments: str


class ToolCallParser:
    """Splits a text that comes in pieces into content and calls.

    A call comes when it is complete, so its arguments are JSON whatever the model did. What is
    between the tags and no call stays in the content, tags and all. Line ends before a call, and
    white space behind one, belong to neither.
    """

    def __init__(self) -> None:
        self._num_calls = 0
        self._inside = False
        self._held = ""
        self._after_call = False

    def push(self, text: str) -> tuple[str, list[ToolCallDelta]]:
        """Add text; returns what it brings of the content, and the calls it completes."""
        text, self._held = self._held + text, ""
        content: list[str] = []
        calls: list[ToolCallDelta] = []
        while text:
            before, after = split_at_tag(text, CLOSE if self._inside else OPEN)
            if after is None:
                keep = 0 if self._inside else len(before.rstrip("\n"))
                content.append(self._content(text[:keep]))
                self._held = text[keep:]
                break
            if not self._inside:
                content.append(self._content(before.rstrip("\n")))
            elif (call := self._call(before)) is not None:
                calls.append(call)
                self._after_call = True
            else:
                content.append(self._content(f"{OPEN}{before}{CLOSE}"))
            self._inside = not self._inside
            text = after
        return "".join(content), calls

    def flush(self) -> tuple[str, list[ToolCallDelta]]:
        """The text ended: a call that was not closed is content."""
        held, self._held = self._held, ""
        return self._content(f"{OPEN}{held}" if self._inside else held), []

    def _content(self, text: str) -> str:
        if self._after_call:
            text = text.lstrip()
            self._after_call = not text
        return text

    def _call(self, text: str) -> ToolCallDelta | None:
        try:
            call = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            return None
        arguments = call.get("arguments", {})
        if not isinstance(arguments, dict):
            return None
        index = self._num_calls
        self._num_calls += 1
        return ToolCallDelta(
            index, f"call_{uuid4().hex}", call["name"], json.dumps(arguments, ensure_ascii=False)
        )
