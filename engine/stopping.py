"""Stop strings in a stream of text."""

from __future__ import annotations


class StopMatcher:
    """Cuts a text at the first stop string, however the text is split into pieces.

    First is the match that is complete first; of two complete at the same character, the one that
    begins earlier. Text that may be the beginning of a stop string is held back until it is not.
    """

    def __init__(self, stop: tuple[str, ...], *, include_stop_str_in_output: bool = False) -> None:
        self._stop = stop
        self._include = include_stop_str_in_output
        self._longest = max(map(len, stop), default=0)
        self._held = ""
        # The stop string that ended the text.
        self.matched: str | None = None

    def push(self, text: str) -> str:
        """Add text; returns what is certain to be visible. After a match nothing is."""
        if self.matched is not None:
            return ""
        if not self._stop:
            return text
        window = self._held + text
        match = self._first_match(window)
        if match is not None:
            begin, self.matched = match
            self._held = ""
            return window[: begin + len(self.matched)] if self._include else window[:begin]
        keep = self._possible_prefix(window)
        self._held = window[len(window) - keep :]
        return window[: len(window) - keep]

    def flush(self) -> str:
        """The text ended: what was held back is visible after all."""
        held, self._held = self._held, ""
        return held

    def _first_match(self, window: str) -> tuple[int, str] | None:
        best: tuple[int, int, str] | None = None  # end, begin, stop string
        for stop in self._stop:
            begin = window.find(stop)
            if begin >= 0 and (best is None or (begin + len(stop), begin) < best[:2]):
                best = (begin + len(stop), begin, stop)
        return None if best is None else (best[1], best[2])

    def _possible_prefix(self, window: str) -> int:
        """Length of the longest end of the window that some stop string begins with."""
        for length in range(min(self._longest - 1, len(window)), 0, -1):
            end = window[len(window) - length :]
            if any(stop.startswith(end) for stop in self._stop):
                return length
        return 0
