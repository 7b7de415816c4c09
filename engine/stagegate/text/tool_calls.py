"""Tool calls in the text of a model, in Qwen's format:

<tool_call>
{"name": "weather", "arguments": {"city": "Oslo"}}
</tool_call>
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING
from uuid import uuid4

from stagegate.text.json_pieces import JsonPieces, UnexpectedError

if TYPE_CHECKING:
    from stagegate.text.text_pieces import Reading

OPEN = "<tool_call>"
CLOSE = "</tool_call>"

# Tools call it "parameters", and models sometimes do too.
_ARGUMENTS = ("arguments", "parameters")
_OUTSIDE = re.compile("<?[^<]*")


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A call, or more of its arguments; only its first delta has an id and a name.

    index: number of the call in the message, from 0. arguments: text of a JSON object.
    """

    index: int
    id: str | None
    name: str | None
    arguments: str


class ToolCallParser:
    """Splits a text that arrives in pieces into content and calls.

    Text after the open tag is a call once its name and the opening brace of its arguments have
    arrived, or its end if it has no arguments. From then on the arguments are streamed as they
    arrive. They end with their closing brace, or with a close tag outside of strings if braces are
    missing; tags in strings are text. All other text is content, tags included. Line ends before a
    call, and white space after one, belong to neither. The cost is linear in the text.

    forced: the text can only be calls, so a call cut off by the end of the text is never content;
    name: the only function that can then be called, if it is known.
    complete: no call was cut off by the end of the text. num_calls: calls so far.
    """

    def __init__(self, *, forced: bool = False, name: str | None = None) -> None:
        self.complete = True
        self.num_calls = 0
        self._forced = forced
        self._forced_name = name
        self._text = JsonPieces(end=CLOSE)
        self._reading = self._read()
        self._content: list[str] = []  # of this piece
        self._deltas: list[ToolCallDelta] = []  # of this piece
        self._gap: list[str] = []  # line ends: content, unless a call follows
        self._after_call = False
        self._name: str | None = None  # of the call that is being read
        self._arguments: list[str] | None = None  # those that came before the name
        self._begun = False  # the call is known to be one, and has its first delta

    def push(self, text: str) -> tuple[str, list[ToolCallDelta]]:
        """Add text; returns the new content and the new call deltas."""
        self._text.add(text)
        next(self._reading, None)
        return self._brought()

    def flush(self) -> tuple[str, list[ToolCallDelta]]:
        """End the text; a call that was cut off is a call if its name is complete, else content."""
        self._text.ended = True
        next(self._reading, None)
        self._content += self._gap
        return self._brought()

    def _brought(self) -> tuple[str, list[ToolCallDelta]]:
        deltas = []
        for (index, name), group in groupby(
            self._deltas, key=lambda delta: (delta.index, delta.name)
        ):
            same = list(group)
            arguments = "".join(delta.arguments for delta in same)
            deltas.append(ToolCallDelta(index, same[0].id, name, arguments))
        content = "".join(self._content)
        self._content, self._deltas = [], []
        return content, deltas

    def _read(self) -> Reading[None]:
        text = self._text
        while (yield from text.peek()):
            if (yield from text.sees(OPEN, cut_off=self._forced)):
                yield from self._call()
            else:
                self._outside(text.take(_OUTSIDE))

    def _outside(self, text: str) -> None:
        """Add text that is certainly content, with the line ends before it."""
        if self._after_call:
            text = text.lstrip()
            self._after_call = not text
        certain = text.rstrip("\n")
        if certain:
            self._content += [*self._gap, certain]
            self._gap.clear()
        self._gap.append(text[len(certain) :])

    def _call(self) -> Reading[None]:
        """Read a call, or content that begins like one."""
        text = self._text
        self._name, self._arguments, self._begun = None, None, False
        taken: list[str] = []
        text.taken = taken
        text.skip(len(OPEN))
        try:
            yield from self._object()
        except UnexpectedError:
            cut_off = text.ended and not text.rest()
        else:
            cut_off = False
            if self._name is not None and not self._begun:
                self._begin(self._name, "{}")
        text.taken = None
        if self._begun:
            self.complete = self.complete or not cut_off
            yield from text.blank()
            if (yield from text.sees(CLOSE, cut_off=True)):
                text.skip(len(CLOSE))
        elif cut_off:
            self._cut_off(self._name, "".join(taken))
        else:
            self._outside("".join(taken))

    def _cut_off(self, name: str | None, text: str) -> None:
        """Handle an incomplete call at the end of the text."""
        if name is None and self.num_calls == 0:
            name = self._forced_name
        if name is not None:
            self._begin(name, "")
            self.complete = False
        elif not self._forced:
            self._outside(text)

    def _begin(self, name: str, arguments: str) -> None:
        self._begun = True
        self._text.taken = None
        self._after_call = True
        self._gap.clear()
        self._deltas.append(ToolCallDelta(self.num_calls, f"call_{uuid4().hex}", name, ""))
        self.num_calls += 1
        if arguments:
            self._add_arguments(arguments)

    def _add_arguments(self, text: str) -> None:
        if self._begun:
            self._deltas.append(ToolCallDelta(self.num_calls - 1, None, None, text))
        elif self._arguments is not None:
            self._arguments.append(text)

    def _object(self) -> Reading[None]:
        """Read the object of a call; raises UnexpectedError where the text is not one."""
        yield from self._text.expect("{")
        if (yield from self._text.skips("}")):
            return
        more = True
        while more:
            yield from self._text.blank()
            key = yield from self._text.string()
            yield from self._text.expect(":")
            yield from self._text.blank()
            yield from self._value(key)
            more = yield from self._text.skips(",")
        yield from self._text.expect("}")

    def _value(self, key: str) -> Reading[None]:
        letter = yield from self._text.peek()
        if key == "name" and self._name is None:
            self._name = yield from self._text.string()
            if self._arguments is not None:
                self._begin(self._name, "".join(self._arguments))
        elif key in _ARGUMENTS and self._arguments is None:
            if letter != "{":
                raise UnexpectedError
            self._arguments = []
            if self._name is not None:
                self._begin(self._name, "")
                self.complete = False
            yield from self._text.nested(self._add_arguments)
            self.complete = True
        else:
            yield from self._text.value()
