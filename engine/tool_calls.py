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
    white space behind one, belong to neither. A piece costs its own length, however much is held.
    """

    def __init__(self) -> None:
        self._num_calls = 0
        self._gap: list[str] = []  # line ends: content, unless a call follows
        self._body: list[str] | None = None  # what came since the open tag; None outside of tags
        self._held = ""  # may be the beginning of a tag
        self._after_call = False

    def push(self, text: str) -> tuple[str, list[ToolCallDelta]]:
        """Add text; returns what it brings of the content, and the calls it completes."""
        content: list[str] = []
        calls: list[ToolCallDelta] = []
        rest: str | None = self._held + text
        while rest is not None:
            text, body = rest, self._body
            before, rest = split_at_tag(text, OPEN if body is None else CLOSE)
            self._held = text[len(before) :] if rest is None else ""
            if body is None:
                content.append(self._outside(before))
                self._body = None if rest is None else []
                continue
            body.append(before)
            if rest is None:
                continue
            self._body = None
            whole = "".join(body)
            if (call := self._call(whole)) is not None:
                calls.append(call)
                self._gap.clear()
                self._after_call = True
            else:
                content.append(self._outside(f"{OPEN}{whole}{CLOSE}"))
        return "".join(content), calls

    def flush(self) -> tuple[str, list[ToolCallDelta]]:
        """The text ended: a call that was not closed is content."""
        opened = [] if self._body is None else [OPEN, *self._body]
        content = "".join([*self._gap, *opened, self._held])
        self._gap, self._body, self._held = [], None, ""
        return content, []

    def _outside(self, text: str) -> str:
        """What is certain to be content, line ends that came before it included."""
        if self._after_call:
            text = text.lstrip()
            self._after_call = not text
        certain = text.rstrip("\n")
        if not certain:
            self._gap.append(text)
            return ""
        released = "".join([*self._gap, certain])
        self._gap = [text[len(certain) :]]
        return released

    def _call(self, text: str) -> ToolCallDelta | None:
        """The call a text is; None for none, or one that JSON or UTF-8 has no form for."""
        try:
            call = json.loads(text)
            if not isinstance(call, dict):
                return None
            name, arguments = call.get("name"), call.get("arguments", {})
            if not isinstance(name, str) or not isinstance(arguments, dict):
                return None
            # Python's own reader takes NaN, makes 1e400 infinite, and takes lone surrogates.
            written = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
            (name + written).encode()
        except (ValueError, RecursionError):
            return None
        index = self._num_calls
        self._num_calls += 1
        return ToolCallDelta(index, f"call_{uuid4().hex}", name, written)
