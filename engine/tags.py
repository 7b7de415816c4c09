"""Tags in a text that comes in pieces."""

from __future__ import annotations


def split_at_tag(text: str, tag: str) -> tuple[str, str | None]:
    """What is certain to come before a tag, and what follows it.

    Without the tag the second is None, and the first leaves out an end that may be its beginning.
    """
    before, found, after = text.partition(tag)
    if found:
        return before, after
    for length in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:length]):
            return text[:-length], None
    return text, None
