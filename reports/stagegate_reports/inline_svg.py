"""A figure of matplotlib as SVG for a page: the page's colours and font, no style of its own.

The page's policy forbids styles inside elements, so they become attributes. Colours become the
variables of the page's style sheet, which has them for light and for dark.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What figures are drawn in, and the variable of report.css that each stands for.
INK, SOFT, RULE = "#1c2126", "#59626d", "#dfe2e4"
GOOD, BAD, WARN, INFO = "#17663a", "#b0241c", "#815400", "#1d5a9e"
_VARIABLES = {
    INK: "ink", SOFT: "soft", RULE: "rule", GOOD: "good", BAD: "bad", WARN: "warn", INFO: "info",
}  # fmt: skip

# Equal figures give equal bytes: no date, no random id. Text stays text; no name is mathematics.
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.unicode_minus": True,
}
_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}

_NAMESPACE = re.compile(r"^\{[^}]*\}")
_REFERENCE = re.compile(r"#([\w.-]+)")
_COORDINATE = re.compile(r"-?\d+\.\d+")
# Nothing is drawn beyond the axes, so nothing need be cut off there.
_WITHOUT = ("metadata", "style", "clipPath")
# The page chooses its own font, and 12 pixels of it.
_LEFT_OUT = {"font", "font-size", "font-family", "clip-path"}


def inline_svg(figure: Figure, *, name: str, title: str, text: str) -> Markup:
    """The figure with a title and a description for those who do not see it.

    name: of the figure in its page; ids of two figures differ by it.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({**SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        # Widths are measured in a font without every script; the page's font has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata=_METADATA, transparent=True)
    root = ET.fromstring(buffer.getvalue())
    _tidy(root)
    root.attrib = {
        "class": "figure",
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "stroke-linejoin": "round",
    }
    for tag, words in (("desc", text), ("title", title)):
        element = ET.Element(tag)
        element.text = words
        root.insert(0, element)
    return Markup(ET.tostring(root, encoding="unicode"))


def _tidy(root: ET.Element) -> None:
    """In place: plain names, styles as attributes, and only the ids that are referred to."""
    for parent in root.iter():
        for child in list(parent):
            if _NAMESPACE.sub("", child.tag) in _WITHOUT:
                parent.remove(child)
    used = {
        found for element in root.iter() for key, value in element.attrib.items()
        if key != "id" for found in _REFERENCE.findall(value)
    }  # fmt: skip
    for element in root.iter():
        element.tag = _NAMESPACE.sub("", element.tag)
        element.tail = None
        if element.tag not in ("text", "tspan"):
            element.text = None
        element.attrib = _attributes(element.attrib, used)


def _attributes(stated: dict[str, str], used: set[str]) -> dict[str, str]:
    found = {}
    for key, value in stated.items():
        if key == "style":
            for part in filter(None, map(str.strip, value.split(";"))):
                prop, _, setting = (word.strip() for word in part.partition(":"))
                if prop not in _LEFT_OUT:
                    found[prop] = _coloured(setting)
        elif key not in _LEFT_OUT and (key != "id" or value in used):
            short = " ".join(value.split())
            found[_NAMESPACE.sub("", key)] = _COORDINATE.sub(_tenth, short)
    if found.get("transform", "").startswith("rotate(-0 "):
        del found["transform"]
    return found


def _coloured(setting: str) -> str:
    variable = _VARIABLES.get(setting)
    return setting if variable is None else f"var(--{variable})"


def _tenth(found: re.Match[str]) -> str:
    return f"{float(found[0]):.1f}".removesuffix(".0")
