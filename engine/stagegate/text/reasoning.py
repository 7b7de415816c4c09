"""The reasoning of a model before its answer, as Qwen and DeepSeek write it: <think>...</think>."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stagegate.text.text_pieces import TextPieces

if TYPE_CHECKING:
    from stagegate.text.text_pieces import Reading

OPEN = "<think>"
CLOSE = "</think>"

_BLANK = re.compile(r"\s+")
_LINE_ENDS = re.compile("\n+")
_UP_TO_TAG = re.compile("<?[^<]*")
_ALL = re.compile("(?s).+")


class ReasoningSplitter:
    """Splits a text that arrives in pieces into reasoning and content.

    There is reasoning only if the text begins with the open tag, ignoring white space, or if the
    prompt ended with it (inside). All other text is content, tags included.
    """

    def __init__(self, *, inside: bool = False) -> None:
        self._text = TextPieces()
        self._reasoning: list[str] = []  # of this piece
        self._content: list[str] = []  # of this piece
        self._reading = self._read(inside)

    def push(self, text: str) -> tuple[str, str]:
        """Add text; returns the new reasoning and the new content."""
        self._text.add(text)
        return self._brought()

    def flush(self) -> tuple[str, str]:
        """End the text; text held back as a possible tag is released."""
        self._text.ended = True
        return self._brought()

    def _brought(self) -> tuple[str, str]:
        next(self._reading, None)
        brought = "".join(self._reasoning), "".join(self._content)
        self._reasoning.clear()
        self._content.clear()
        return brought

    def _read(self, inside: bool) -> Reading[None]:
        text = self._text
        if not inside:
            blank = []
            while (yield from text.peek()) and (more := text.take(_BLANK)):
                blank.append(more)
            if (yield from text.sees(OPEN)):
                text.skip(len(OPEN))
                inside = True
            else:
                self._content += blank
        if inside:
            yield from self._think()
        while (yield from text.peek()):
            self._content.append(text.take(_ALL))

    def _think(self) -> Reading[None]:
        """Read up to the close tag and the empty lines after it."""
        text = self._text
        while (yield from text.peek()):
            if (yield from text.sees(CLOSE)):
                text.skip(len(CLOSE))
                break
            self._reasoning.append(text.take(_UP_TO_TAG))
        while (yield from text.peek()) and text.take(_LINE_ENDS):
            pass
