"""Reading a text that arrives in pieces as if it were complete."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import re

Result = TypeVar("Result")
# A reader is a generator: it yields where it needs more text, and resumes when more has arrived.
Reading = Generator[None, None, Result]


class TextPieces:
    """The unread part of the text.

    ended: no more text will arrive. taken: if it is a list, consumed text is appended to it.
    """

    def __init__(self) -> None:
        self.ended = False
        self.taken: list[str] | None = None
        self._text = ""
        self._at = 0

    def add(self, text: str) -> None:
        self._text = self._text[self._at :] + text
        self._at = 0

    def peek(self) -> Reading[str]:
        """The next character, without consuming it; "" at the end of the text."""
        while self._at == len(self._text) and not self.ended:
            yield
        return self._text[self._at : self._at + 1]

    def sees(self, tag: str, *, cut_off: bool = False) -> Reading[bool]:
        """Whether the tag comes next. It is not consumed.

        cut_off: at the end of the text, a prefix of the tag counts too.
        """
        while not self._text.startswith(tag, self._at):
            if not tag.startswith(self._text[self._at :]):
                return False
            if self.ended:
                return cut_off
            yield
        return True

    def take(self, pattern: re.Pattern[str]) -> str:
        """Consume the match at the start of the available text; "" if there is none."""
        found = pattern.match(self._text, self._at)
        return self.skip(0 if found is None else found.end() - self._at)

    def skip(self, length: int) -> str:
        """Consume the next characters of the available text."""
        text = self._text[self._at : self._at + length]
        self._at += len(text)
        if self.taken is not None:
            self.taken.append(text)
        return text

    def rest(self) -> str:
        """The available text that was not consumed. It is not consumed here."""
        return self._text[self._at :]
