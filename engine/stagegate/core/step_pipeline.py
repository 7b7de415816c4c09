"""The steps in flight: planned, submitted, waited for in their order."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from stagegate.core.step_plan import StepGains

if TYPE_CHECKING:
    from collections.abc import Callable

    from stagegate.core.scheduler import Scheduler
    from stagegate.core.sequence import Sequence
    from stagegate.execution.executor import Executor, PendingStep
    from stagegate.execution.step import ScheduledStep, StepOutput


@dataclass(frozen=True, slots=True)
class StepFailure:
    """A step that failed, and why; `StepPipeline.roll_back` ends its sequences."""

    step: ScheduledStep
    error: BaseException


@dataclass(slots=True)
class Progress:
    """What one call of `StepPipeline.advance` brought.

    output: of the step that ended; None when none did. gains: what of it belongs to which
    sequence. failures: in the order of their steps.
    """

    output: StepOutput | None = None
    gains: StepGains = field(default_factory=StepGains)
    failures: list[StepFailure] = field(default_factory=list)


class _InFlight(NamedTuple):
    step: ScheduledStep
    pending: PendingStep
    started: float  # when it began to be planned


class StepPipeline:
    """Keeps the executor busy with what the scheduler plans.

    Where steps overlap with the host, one is queued behind the one that runs, so that the device
    waits neither for scheduling nor for text. What ends a sequence is found one step late then, and
    the scheduler drops what was sampled behind the end. A step whose tokens the next one has to
    know is waited for first.

    The scheduler hears how long each step took: from when it was planned, or from the end of the
    step before, if that came later. That is the time between two tokens of a text that decodes.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        executor: Executor,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._scheduler = scheduler
        self._executor = executor
        self._clock = clock
        self._in_flight: deque[_InFlight] = deque()
        self._last_end = clock()  # when the last step came back

    def advance(self) -> Progress:
        """Wait for the oldest step, and keep the next in flight.

        Where steps overlap, the first call starts a step and brings nothing. Nothing is raised for
        a step that fails or is interrupted: it is among the failures, and its sequences live until
        `roll_back`, so that what came before it can be used.
        """
        progress = Progress()
        overlaps = self._executor.overlaps
        if not self._in_flight:
            self._start(progress)
            if not self._in_flight or overlaps:
                return progress
        step, pending, started = self._in_flight[0]
        if overlaps and step.lets_the_next_run:
            self._start(progress)
        behind_failed = bool(progress.failures)
        self._in_flight.popleft()
        try:
            output = pending.wait()
        except BaseException as error:
            progress.failures.insert(0, StepFailure(step, error))
            return progress
        finally:
            began, self._last_end = max(started, self._last_end), self._clock()
        self._scheduler.note_time(step, self._last_end - began)
        progress.gains = self._scheduler.update(step, output)
        progress.output = output
        if overlaps and not behind_failed and not self._in_flight:
            self._start(progress)
        return progress

    def roll_back(self, failure: StepFailure) -> list[Sequence]:
        """End the sequences of a step that failed; those that had not ended before."""
        return self._scheduler.rollback(failure.step)

    def _start(self, progress: Progress) -> None:
        """Submit the next step, if there is work for one."""
        started = self._clock()
        step = self._scheduler.schedule()
        if step is None:
            return
        try:
            self._in_flight.append(_InFlight(step, self._executor.submit(step), started))
        except BaseException as error:
            progress.failures.append(StepFailure(step, error))
