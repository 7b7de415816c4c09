"""Stop strings in a stream of text."""

from __future__ import annotations

from collections.abc import Iterator

# Begin and end of each hidden token in a window of text.
_Spans = list[tuple[int, int]]


class StopMatcher:
    """Cuts a text at the first stop string, however the text is split into pieces.

    The first match is the one that is complete first; of two that are complete at the same
    character, the one that begins earlier. Text that may be the beginning of a stop string is held
    back until it cannot be.

    A hidden token is not part of the visible text; most special tokens are hidden. A stop string
    that contains the whole text of a hidden token matches it; all others match as if the hidden
    token were absent.
    """

    def __init__(self, stop: tuple[str, ...], *, include_stop_str_in_output: bool = False) -> None:
        self._stop = stop
        self._include = include_stop_str_in_output
        self._longest = max(map(len, stop), default=0)
        self._held = ""
        self._hidden: _Spans = []  # in what is held
        # The stop string that ended the text.
        self.matched: str | None = None

    def push(self, text: str, *, hidden: bool = False) -> str:
        """Add text, or a hidden token by its text; returns the text that is certainly visible.

        After a match it is empty.
        """
        if self.matched is not None:
            return ""
        if not self._stop:
            return "" if hidden else text
        window, spans = self._held + text, self._hidden
        if hidden and text:
            spans = [*spans, (len(self._held), len(window))]
        match = self._first_match(window, spans)
        if match is not None:
            begin, self.matched = match
            self._held, self._hidden = "", []
            return _visible(window[:begin], spans) + (self.matched if self._include else "")
        start = self._possible_start(window, spans)
        self._held = window[start:]
        self._hidden = [(begin - start, end - start) for begin, end in spans if begin >= start]
        return _visible(window[:start], spans)

    def flush(self) -> str:
        """End the text; returns the text that was held back."""
        visible = _visible(self._held, self._hidden)
        self._held, self._hidden = "", []
        return visible

    def _first_match(self, window: str, spans: _Spans) -> tuple[int, str] | None:
        best: tuple[int, int, str] | None = None  # end, begin, stop string
        for text, places in _readings(window, spans):
            for stop in self._stop:
                for at in _occurrences(stop, text):
                    begin, end = places[at], places[at + len(stop) - 1] + 1
                    if not (_inside(begin, spans) or _inside(end, spans)):
                        if best is None or (end, begin) < best[:2]:
                            best = (end, begin, stop)
                        break
        return None if best is None else (best[1], best[2])

    def _possible_start(self, window: str, spans: _Spans) -> int:
        """Start of the longest suffix of the window that is a prefix of a stop string."""
        start = len(window)
        for text, places in _readings(window, spans):
            for at in range(max(len(text) - self._longest + 1, 0), len(text)):
                end = text[at:]
                possible = any(stop.startswith(end) for stop in self._stop)
                if possible and not _inside(places[at], spans):
                    start = min(start, places[at])
                    break
        return start


def _readings(window: str, spans: _Spans) -> Iterator[tuple[str, range | list[int]]]:
    """The window with and without hidden tokens, each with the positions of its characters."""
    yield window, range(len(window))
    if spans:
        places = [at for at in range(len(window)) if not any(b <= at < e for b, e in spans)]
        yield "".join(window[at] for at in places), places


def _occurrences(stop: str, text: str) -> Iterator[int]:
    at = text.find(stop)
    while at >= 0:
        yield at
        at = text.find(stop, at + 1)


def _inside(at: int, spans: _Spans) -> bool:
    """Whether a position is between two characters of a hidden token."""
    return any(begin < at < end for begin, end in spans)


def _visible(text: str, spans: _Spans) -> str:
    """A prefix of the window without its hidden tokens."""
    parts, shown = [], 0
    for begin, end in spans:
        parts.append(text[shown:begin])
        shown = end
    return "".join([*parts, text[shown:]])
