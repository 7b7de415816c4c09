"""Runs a planned load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from suites.online.load.arrival import ClosedLoop, OpenLoop
from suites.online.load.client import LoadClient, Target
from suites.online.load.request_result import RequestResult
from suites.online.load.workload import Conversation


@dataclass(frozen=True, slots=True)
class LoadRun:
    """planned: requests the conversations have; those after a failed turn are never sent.

    duration_s: from the first intended start to the last end. client_cpu_s: what this process took
    of a core meanwhile.
    """

    arrival: ClosedLoop | OpenLoop
    planned: int
    results: tuple[RequestResult, ...]
    duration_s: float
    client_cpu_s: float

    @property
    def client_cpu(self) -> float:
        """Share of one core that the client used; near 1 it measures its own delays."""
        return self.client_cpu_s / self.duration_s if self.duration_s > 0 else 0.0


def run_load(
    target: Target,
    conversations: Sequence[Conversation],
    arrival: ClosedLoop | OpenLoop,
    *,
    seed: int = 0,
) -> LoadRun:
    """Run a load on a new event loop. seed: of the arrival times of an open loop."""
    return asyncio.run(send_load(target, conversations, arrival, seed=seed))


async def send_load(
    target: Target,
    conversations: Sequence[Conversation],
    arrival: ClosedLoop | OpenLoop,
    *,
    seed: int = 0,
) -> LoadRun:
    """Like run_load, on the loop that runs."""
    results: list[RequestResult] = []
    async with LoadClient(target) as client:
        cpu = time.process_time()
        client.restart_clock()
        if isinstance(arrival, ClosedLoop):
            waiting = iter(conversations)
            async with asyncio.TaskGroup() as group:
                for _ in range(min(arrival.concurrency, len(conversations))):
                    group.create_task(_one_after_another(client, waiting, results))
        else:
            schedule = arrival.schedule(len(conversations), seed)
            async with asyncio.TaskGroup() as group:
                for conversation, intended in zip(conversations, schedule, strict=True):
                    # Timers fire late and an earlier one may have held the loop up; intended
                    # stays what it was, so that the delay is part of the latency.
                    if (wait := intended - client.now()) > 0:
                        await asyncio.sleep(wait)
                    group.create_task(_converse(client, conversation, intended, results))
        cpu = time.process_time() - cpu
    return LoadRun(
        arrival,
        planned=sum(len(conversation.turns) for conversation in conversations),
        results=tuple(sorted(results, key=lambda result: (result.conversation, result.turn))),
        duration_s=max((result.ended for result in results), default=0.0),
        client_cpu_s=cpu,
    )


async def _one_after_another(
    client: LoadClient, waiting: Iterator[Conversation], results: list[RequestResult]
) -> None:
    for conversation in waiting:
        await _converse(client, conversation, client.now(), results)


async def _converse(
    client: LoadClient, conversation: Conversation, intended: float, results: list[RequestResult]
) -> None:
    """A turn is due when the previous one has ended. A failed turn ends the conversation."""
    answers: list[str] = []
    for _ in conversation.turns:
        result = await client.send(conversation, answers, intended)
        results.append(result)
        if result.failure is not None:
            return
        answers.append(result.text)
        intended = result.ended
