"""Deltas of one request on their way to the coroutine that wants them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stagegate.outputs import ChoiceDelta, RequestDelta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagegate.core.request import Request
    from stagegate.errors import StagegateError


class RequestStream:
    """Filled by callbacks of its event loop, emptied by one coroutine of that loop.

    What comes while the coroutine is busy is handed out as one delta, so a stream never holds more
    than the output of its request.
    """

    def __init__(self, request: Request, event_loop: asyncio.AbstractEventLoop) -> None:
        self.request = request
        self.event_loop = event_loop
        self._pending: list[RequestDelta] = []
        self._error: StagegateError | None = None
        self._changed = asyncio.Event()

    def push(self, delta: RequestDelta) -> None:
        self._pending.append(delta)
        self._changed.set()

    def fail(self, error: StagegateError) -> None:
        """No delta follows: `take` raises `error` when it has handed out what is there."""
        self._error = error
        self._changed.set()

    async def take(self) -> RequestDelta:
        """Everything that came since the last call, at least one delta."""
        while not self._pending:
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
        pending, self._pending = self._pending, []
        return merge_deltas(pending)


def merge_deltas(deltas: Sequence[RequestDelta]) -> RequestDelta:
    """One delta for at least one in a row of the same request."""
    if len(deltas) == 1:
        return deltas[0]
    parts: dict[int, list[ChoiceDelta]] = {}
    for delta in deltas:
        for choice in delta.choices:
            parts.setdefault(choice.index, []).append(choice)
    return deltas[-1]._replace(
        choices=tuple(_merge_choices(parts[index]) for index in sorted(parts)),
        prompt_logprobs=deltas[0].prompt_logprobs,
    )


def _merge_choices(parts: list[ChoiceDelta]) -> ChoiceDelta:
    last = parts[-1]
    return ChoiceDelta(
        index=last.index,
        text="".join(part.text for part in parts),
        token_ids=[token for part in parts for token in part.token_ids],
        logprobs=(
            None
            if last.logprobs is None
            else [entry for part in parts for entry in part.logprobs or ()]
        ),
        finish_reason=last.finish_reason,
        stop_reason=last.stop_reason,
    )
