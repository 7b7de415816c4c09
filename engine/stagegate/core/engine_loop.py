"""The thread that steps an engine, and what other threads may ask of it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from stagegate.core.engine_stats import EngineCounters
from stagegate.errors import EngineDeadError, InvalidRequestError, QueueFullError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from stagegate.core.engine_stats import EngineHistograms, EngineStats
    from stagegate.core.llm_engine import LLMEngine
    from stagegate.core.request import Request
    from stagegate.core.request_stream import RequestStream
    from stagegate.outputs import RequestDelta

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Submission:
    stream: RequestStream


@dataclass(frozen=True, slots=True)
class _Abort:
    request_id: str
    done: Future[bool] | None  # whether there was such a request


class EngineLoop:
    """Owns an engine while it runs; every public method may be called from any thread.

    Requests and aborts come in through an inbox and take effect before the next step. Deltas go out
    after it, with one call for each event loop that waits for some. Nothing is kept of a request
    that has ended but counters.

    max_waiting: sequences that may wait for a place among those that run.
    """

    def __init__(self, engine: LLMEngine, *, max_waiting: int) -> None:
        self._engine = engine
        self._max_waiting = max_waiting
        self._thread: threading.Thread | None = None
        self._counters = EngineCounters()
        self._taken = 0  # sequences taken from the inbox since the statistics were read
        self._stats = self._counters.read(engine)
        # The rest is shared, and read or changed under this condition.
        self._changed = threading.Condition()
        self._inbox: deque[_Submission | _Abort] = deque()
        self._open: dict[str, RequestStream] = {}  # from submission to the last delta
        self._unseen = 0  # sequences submitted since the statistics were read
        self._last_progress = time.monotonic()
        self._drains: list[Future[None]] = []
        self._draining = False
        self._stopping = False
        self._dead = False
        self._cause: BaseException | None = None  # of the death, unless it was wanted

    def start(self) -> None:
        """Start the thread; again is harmless. EngineDeadError when the loop has ended."""
        with self._changed:
            self._check_alive()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="engine-loop", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Abort what is open, end the thread and wait for it."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
        elif not self._dead:
            self._run()  # ends at once, but not without an end for every open request

    def stop(self) -> None:
        """Have the thread abort what is open and end, without waiting for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def check_open(self) -> None:
        """EngineDeadError or QueueFullError when a request would be refused now."""
        with self._changed:
            self._check_alive()
            if self._draining:
                msg = "the engine is shutting down and takes no new requests"
                raise EngineDeadError(msg)
            stats = self._stats
            # While nobody waits, as many as have a place will not wait either.
            free = self._engine.config.max_num_seqs - stats.running
            places = 0 if stats.waiting else max(free, 0)
            waiting = stats.waiting + max(self._unseen - places, 0)
            if waiting >= self._max_waiting:
                msg = f"{waiting} sequences wait, at most {self._max_waiting} may; try again later"
                raise QueueFullError(msg)

    def submit(self, stream: RequestStream) -> None:
        """Queue the request of a stream. Raises as `check_open`, or when its id is in use."""
        request = stream.request
        with self._changed:
            self.check_open()
            if request.request_id in self._open:
                msg = f"request_id {request.request_id!r} is in use; choose another"
                raise InvalidRequestError(msg, parameter="request_id")
            if not self._open:
                self._last_progress = time.monotonic()
            self._open[request.request_id] = stream
            self._unseen += len(request.choices)
            self._post(_Submission(stream))

    def discard(self, stream: RequestStream) -> None:
        """Abort the request of a stream that nobody reads any more."""
        with self._changed:
            if self._open.get(stream.request.request_id) is stream:
                self._post(_Abort(stream.request.request_id, None))

    def abort(self, request_id: str) -> Future[bool]:
        """End a request; the future says whether it was still open."""
        done: Future[bool] = Future()
        with self._changed:
            if request_id in self._open:
                self._post(_Abort(request_id, done))
            else:
                done.set_result(False)
        return done

    def drain(self) -> Future[None]:
        """Refuse new requests from now on; the future is done when none is open any more."""
        done: Future[None] = Future()
        with self._changed:
            self._draining = True
            if self._open:
                self._drains.append(done)
            else:
                done.set_result(None)
        return done

    def is_healthy(self, stall_s: float) -> bool:
        with self._changed:
            if self._dead or self._stopping:
                return False
            return not self._open or time.monotonic() - self._last_progress < stall_s

    def stats(self) -> EngineStats:
        stats = self._stats
        return replace(stats, waiting=stats.waiting + self._unseen)

    def histograms(self) -> EngineHistograms:
        return self._counters.histograms()

    def _check_alive(self) -> None:
        if self._dead or self._stopping:
            raise _dead_error(self._cause)

    def _post(self, command: _Submission | _Abort) -> None:
        self._inbox.append(command)
        self._changed.notify()

    # From here on only the thread itself calls.

    def _run(self) -> None:
        cause: BaseException | None = None
        try:
            while not self._wait_for_work():
                self._obey()
                if self._engine.unfinished_requests:
                    advanced = self._engine.step()
                    self._counters.count_step()
                    self._publish(advanced)
            self._obey()
            self._abort(list(self._engine.unfinished_requests))
        except BaseException as error:
            cause = error
            # Its message may quote a request.
            _logger.error("the engine ended by %s", type(error).__qualname__)
        self._die(cause)

    def _wait_for_work(self) -> bool:
        """Sleep while there is nothing to do; true when the loop is to end."""
        with self._changed:
            while not (self._stopping or self._inbox or self._engine.unfinished_requests):
                self._changed.wait()
            return self._stopping

    def _obey(self) -> None:
        """Do what the inbox says, in its order."""
        while self._inbox:
            command = self._inbox[0]
            if isinstance(command, _Submission):
                command.stream.request.follow()
                self._engine.submit(command.stream.request)
                self._taken += len(command.stream.request.choices)
            else:
                found = self._abort([command.request_id])
                if command.done is not None:
                    _resolve(command.done, found)
            self._inbox.popleft()  # only now: what fails is still there for `_die`

    def _abort(self, request_ids: Iterable[str]) -> bool:
        aborted = [self._engine.abort_request(request_id) for request_id in request_ids]
        found = [request for request in aborted if request is not None]
        self._publish(found)
        return bool(found)

    def _publish(self, requests: Iterable[Request]) -> None:
        """Send what requests gained to their streams."""
        batches: dict[asyncio.AbstractEventLoop, list[tuple[RequestStream, RequestDelta]]] = {}
        ended: list[str] = []
        now = time.perf_counter()
        for request in requests:
            delta = request.take_delta()
            if delta is None:
                continue
            self._counters.count_delta(request, delta, now)
            stream = self._open[request.request_id]
            batches.setdefault(stream.event_loop, []).append((stream, delta))
            if delta.finished:
                ended.append(request.request_id)
        self._counters.end_deltas(now)
        stats = self._counters.read(self._engine)
        with self._changed:
            self._last_progress = time.monotonic()
            self._stats = stats
            self._unseen -= self._taken
            self._taken = 0
            for request_id in ended:  # before its consumer may use the id again
                del self._open[request_id]
            drains = [] if self._open else self._take_drains()
        for event_loop, batch in batches.items():
            if not _call(event_loop, partial(_push, batch)):
                for stream, _ in batch:
                    self.discard(stream)
        for done in drains:
            _resolve(done, None)

    def _die(self, cause: BaseException | None) -> None:
        """Nobody steps the engine any more, so nobody may wait for it."""
        with self._changed:
            self._dead = True
            self._cause = cause
            streams = list(self._open.values())
            commands = list(self._inbox)
            drains = self._take_drains()
            self._open.clear()
            self._inbox.clear()
        for stream in streams:
            # A raised exception collects tracebacks, so each stream gets its own.
            _call(stream.event_loop, partial(stream.fail, _dead_error(cause)))
        for command in commands:
            if isinstance(command, _Abort) and command.done is not None:
                _resolve(command.done, False)
        for done in drains:
            _resolve(done, None)

    def _take_drains(self) -> list[Future[None]]:
        drains, self._drains = self._drains, []
        return drains


def _push(batch: list[tuple[RequestStream, RequestDelta]]) -> None:
    for stream, delta in batch:
        stream.push(delta)


def _call(event_loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> bool:
    """Run a callback in an event loop; false when that has closed."""
    try:
        event_loop.call_soon_threadsafe(callback)
    except RuntimeError:
        return False
    return True


def _resolve(done: Future[_Result], result: _Result) -> None:
    if done.set_running_or_notify_cancel():  # whoever waited may have left
        done.set_result(result)


def _dead_error(cause: BaseException | None) -> EngineDeadError:
    if cause is None:
        return EngineDeadError("the engine is closed")
    error = EngineDeadError(f"the engine loop has ended: {cause!r}")
    error.__cause__ = cause
    return error
