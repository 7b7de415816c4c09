"""Text that comes in pieces, read as if it were whole."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import re

Result = TypeVar("Result")
# A reader is a generator: it stops where it needs more text, and goes on when that has come.
Reading = Generator[None, None, Result]


class TextPieces:
    """The text from where it has been read to.

    ended: no more will come. taken: where there is a list, what is read is appended to it.
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
        """The next character, which stays; "" at the end of the text."""
        while self._at == len(self._text) and not self.ended:
            yield
        return self._text[self._at : self._at + 1]

    def sees(self, tag: str, *, cut_off: bool = False) -> Reading[bool]:
        """Whether the tag comes next. It stays.

        cut_off: the beginning of it counts as well, where the text ends.
        """
        while not self._text.startswith(tag, self._at):
            if not tag.startswith(self._text[self._at :]):
                return False
            if self.ended:
                return cut_off
            yield
        return True

    def take(self, pattern: re.Pattern[str]) -> str:
        """What matches of the text that has come; "" for nothing."""
        found = pattern.match(self._text, self._at)
        return self.skip(0 if found is None else found.end() - self._at)

    def skip(self, length: int) -> str:
        """The next characters, of those that have come."""
        text = self._text[self._at : self._at + length]
        self._at += len(text)
        if self.taken is not None:
            self.taken.append(text)
        return text

    def rest(self) -> str:
        """All that has come and was not taken. It stays."""
        return self._text[self._at :]
