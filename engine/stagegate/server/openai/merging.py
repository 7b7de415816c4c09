"""Merging of several streams of deltas into one."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from stagegate.outputs import RequestDelta


async def merged(
    streams: Sequence[AsyncGenerator[RequestDelta, None]],
) -> AsyncGenerator[tuple[int, RequestDelta], None]:
    """Deltas of all streams as they arrive, each with the number of its stream.

    The first error of a stream ends all. Streams that were not exhausted are closed.
    """
    if len(streams) == 1:
        async with aclosing(streams[0]) as stream:
            async for delta in stream:
                yield 0, delta
        return
    # Short, so that deltas wait in their streams, where they are merged, if the consumer is behind.
    queue: asyncio.Queue[tuple[int, RequestDelta | Exception | None]] = asyncio.Queue(len(streams))
    tasks = [
        asyncio.create_task(_pump(index, stream, queue)) for index, stream in enumerate(streams)
    ]
    try:
        running = len(tasks)
        while running:
            index, item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                running -= 1
            else:
                yield index, item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    index: int,
    stream: AsyncGenerator[RequestDelta, None],
    queue: asyncio.Queue[tuple[int, RequestDelta | Exception | None]],
) -> None:
    """Move a stream into the queue; None marks its end."""
    try:
        async with aclosing(stream):
            async for delta in stream:
                await queue.put((index, delta))
    except Exception as error:
        await queue.put((index, error))
    else:
        await queue.put((index, None))
