"""Incremental reading of JSON in a text that arrives in pieces."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from stagegate.text.text_pieces import TextPieces

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagegate.text.text_pieces import Reading

_BLANK = re.compile(r"\s+")
_SCALAR = re.compile(r"[-+.\w]+")
_IN_STRING = re.compile(r'[^"\\]+')
_BETWEEN = re.compile(r'<?[^<"{}\[\]]*')


class UnexpectedError(Exception):
    """The text does not match the syntax that the reader expects."""


class JsonPieces(TextPieces):
    """Reads JSON, which a tag (end) may end early; inside strings the tag is text.

    Readers raise UnexpectedError at unexpected text, which they do not consume, and at the end of
    the text.
    """

    def __init__(self, *, end: str) -> None:
        super().__init__()
        self._end = end

    def blank(self) -> Reading[None]:
        while (yield from self.peek()) and self.take(_BLANK):
            pass

    def skips(self, letter: str) -> Reading[bool]:
        """Consume the letter and white space before it, if the letter comes next."""
        yield from self.blank()
        found = (yield from self.peek()) == letter
        self.skip(int(found))
        return found

    def expect(self, letter: str) -> Reading[None]:
        if not (yield from self.skips(letter)):
            raise UnexpectedError

    def string(self) -> Reading[str]:
        """Read a string, which must be encodable as UTF-8."""
        written: list[str] = []
        yield from self.quoted(written.append)
        try:
            text = str(json.loads("".join(written)))
            text.encode()
        except ValueError as error:
            raise UnexpectedError from error
        return text

    def quoted(self, add: Callable[[str], None]) -> Reading[None]:
        """Read the source text of a string, quotes included."""
        if (yield from self.peek()) != '"':
            raise UnexpectedError
        add(self.skip(1))
        while letter := (yield from self.peek()):
            if letter == '"':
                add(self.skip(1))
                return
            if letter == "\\":
                add(self.skip(1))
                yield from self.peek()
                add(self.skip(1))
            else:
                add(self.take(_IN_STRING))
        raise UnexpectedError

    def nested(self, add: Callable[[str], None]) -> Reading[None]:
        """Read the source text of an object or an array, up to the brace that closes the first.

        Only braces and strings are parsed: the text between them need not be JSON.
        """
        depth = 0
        while letter := (yield from self.peek()):
            if letter == '"':
                yield from self.quoted(add)
            elif letter in "{[":
                depth += 1
                add(self.skip(1))
            elif letter in "}]":
                depth -= 1
                add(self.skip(1))
                if depth == 0:
                    return
            elif (yield from self.sees(self._end, cut_off=True)):
                break
            else:
                add(self.take(_BETWEEN))
        raise UnexpectedError

    def value(self) -> Reading[None]:
        """Skip any value."""
        letter = yield from self.peek()
        if letter == '"':
            yield from self.quoted(_ignore)
        elif letter in {"{", "["}:
            yield from self.nested(_ignore)
        elif not self.take(_SCALAR):
            raise UnexpectedError
        else:
            while (yield from self.peek()) and self.take(_SCALAR):
                pass


def _ignore(text: str) -> None:
    """Discard skipped text."""
