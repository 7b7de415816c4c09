"""Text that others wrote, made safe for each format that a record, gate or report is written in.

Reasons, names and parameters come from exceptions, plugins, models and the command line, and may
hold anything: colours of a terminal, NUL, lone surrogates, marks that reverse the direction of
reading, markup. Every writer passes them through the function of its format.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
# Controls but tab and line feed, separators of lines and marks of direction that no reader sees,
# halves of characters, and code points that are no characters.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
    "\ufdd0-\ufdef"
    + "".join(
        f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
    )
    + "]"
)
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#~!&])")  # a link or image would load something
# Spreadsheets run what starts so; some take the wide forms for the narrow ones.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\n", *"\uff1d\uff0b\uff0d\uff20")


def printable(text: str) -> str:
    r"""The text without colours, its other unprintable characters spelt out, as in \x00.

    Line ends become line feeds. What is printable stays as it is.
    """
    lines = _COLOUR.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return _UNPRINTABLE.sub(lambda found: _spelt(ord(found[0])), lines)


def one_line(text: str) -> str:
    """For a terminal's table and other places where a line is an entry."""
    return " ".join(printable(text).split())


def xml(text: str) -> str:
    """For an XML library, which does the quoting but writes characters that XML does not have."""
    return printable(text)


def html(text: object) -> Markup:
    """For the text or a quoted attribute of a page; markup of our own stays markup."""
    return escape(printable(text) if type(text) is str else text)


def markdown(text: str) -> str:
    """As Markdown shows it literally, on one line and inside a table cell."""
    return _MARKDOWN.sub(r"\\\1", one_line(text))


def csv_cell(text: str) -> str:
    """For a CSV library, which does the quoting; an apostrophe keeps a formula text."""
    plain = printable(text)
    return f"'{plain}" if plain.startswith(_FORMULA_STARTS) else plain


def github_message(text: str) -> str:
    """For what a workflow command of GitHub says: line ends stay, and begin no other command."""
    return printable(text).replace("%", "%25").replace("\n", "%0A")


def github_property(text: str) -> str:
    """For a title or another property of a workflow command."""
    return github_message(one_line(text)).replace(":", "%3A").replace(",", "%2C")


def _spelt(code: int) -> str:
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
