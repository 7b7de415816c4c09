"""Says in the log that memory for keys and values is short, but not for every preemption."""

from __future__ import annotations

import logging
import time
from typing import Final

_logger = logging.getLogger(__name__)

_SECONDS_BETWEEN: Final = 10.0


class PreemptionLog:
    """One warning in ten seconds at most; each says how many preemptions came since the last."""

    def __init__(self) -> None:
        self._said_at: float | None = None
        self._said = 0

    def note(self, num_preemptions: int) -> None:
        """num_preemptions: since the start, this one included."""
        now = time.monotonic()
        if self._said_at is not None and now - self._said_at < _SECONDS_BETWEEN:
            return
        _logger.warning(
            "%d sequences gave up their keys and values, which are computed again; %d since the "
            "start: a larger KV cache or a smaller max_num_seqs avoids it",
            num_preemptions - self._said, num_preemptions,
        )  # fmt: skip
        self._said_at, self._said = now, num_preemptions
