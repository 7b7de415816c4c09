"""What a model thinks before it answers, in the form of Qwen and DeepSeek: <think>...</think>."""

from __future__ import annotations

from engine.tags import split_at_tag

OPEN = "<think>"
CLOSE = "</think>"


class ReasoningSplitter:
    """Splits a text that comes in pieces into reasoning and content.

    Reasoning is there only when the text begins with the open tag, white space aside, or when the
    prompt ended with it (inside): whatever else a model writes is content, tags and all.
    """

    def __init__(self, *, inside: bool = False) -> None:
        self._inside = inside
        self._before = not inside  # nothing but white space, or a part of the open tag, has come
        self._blank: list[str] = []  # white space that came before anything else
        self._trims = False  # the close tag is followed by empty lines
        self._held = ""

    def push(self, text: str) -> tuple[str, str]:
        """Add text; returns what it brings of the reasoning and of the content."""
        text, self._held = self._held + text, ""
        if self._before:
            begun = text.lstrip()
            self._blank.append(text[: len(text) - len(begun)])
            if len(begun) < len(OPEN) and OPEN.startswith(begun):
                self._held = begun
                return "", ""
            self._before = False
            if begun.startswith(OPEN):
                self._inside = True
                text = begun.removeprefix(OPEN)
            else:
                text = "".join([*self._blank, begun])
            self._blank.clear()
        if not self._inside:
            return "", self._content(text)
        reasoning, content = split_at_tag(text, CLOSE)
        if content is None:
            self._held = text[len(reasoning) :]
            return reasoning, ""
        self._inside = False
        self._trims = True
        return reasoning, self._content(content)

    def flush(self) -> tuple[str, str]:
        """The text ended: what was held back for a tag is none."""
        held = "".join([*self._blank, self._held])
        self._blank, self._held = [], ""
        return (held, "") if self._inside else ("", held)

    def _content(self, text: str) -> str:
        if self._trims:
            text = text.lstrip("\n")
            self._trims = not text
        return text
