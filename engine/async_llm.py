"""The online entry: coroutines submit requests and stream what they bring back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from engine.engine_stats import EngineCounters, EngineStats
from engine.errors import ConfigError, EngineDeadError, InvalidRequestError, QueueFullError
from engine.request_stream import RequestStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from engine.llm_engine import LLMEngine
    from engine.outputs import RequestDelta
    from engine.request import Request
    from engine.sampling import SamplingParams

# Characters or token ids from which a prompt is tokenised and checked in a thread of its own: that
# takes about a millisecond then, which the other requests of the event loop should not wait for.
_LONG_PROMPT = 4096

__all__ = ["AsyncLLM", "EngineStats"]

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Submission:
    stream: RequestStream


@dataclass(frozen=True, slots=True)
class _Abort:
    request_id: str
    done: Future[bool] | None  # whether there was such a request


class AsyncLLM:
    """One loop thread drives an LLMEngine; coroutines of any event loop submit and stream.

    engine: from now on only its immutable parts (tokenizer, chat_template, model, max_model_len,
        config) may be used from outside.
    max_waiting: sequences that may wait for a place among those that run.

    The loop starts with `start` and ends with `close`, or when a step raises what is not the fault
    of a request: then every open request ends with an EngineDeadError that carries the cause.
    """

    def __init__(self, engine: LLMEngine, *, max_waiting: int = 1024) -> None:
        if max_waiting < 1:
            msg = f"max_waiting must be at least 1, got {max_waiting}"
            raise ConfigError(msg)
        self.engine = engine
        self._max_waiting = max_waiting
        self._thread = threading.Thread(target=self._run, name="engine-loop", daemon=True)
        self._counters = EngineCounters()  # the loop's own
        self._taken = 0  # sequences taken from the inbox since the statistics were read
        self._stats = self._counters.read(engine)
        # The rest is shared, and read or changed under this condition.
        self._changed = threading.Condition()
        self._inbox: deque[_Submission | _Abort] = deque()
        self._open: dict[str, RequestStream] = {}  # from submission to the last delta
        self._unseen = 0  # sequences submitted since the statistics were read
        self._last_progress = time.monotonic()
        self._drains: set[Future[None]] = set()
        self._draining = False
        self._stopping = False
        self._dead = False
        self._cause: BaseException | None = None  # of the death, unless it was wanted

    def start(self) -> None:
        """Start the loop; again is harmless. Raises EngineDeadError when it has ended."""
        with self._changed:
            self._check_alive()
            if self._thread.ident is None:
                self._thread.start()

    async def drain(self, timeout_s: float | None = None) -> bool:
        """Refuse new requests and wait until those that are open end; False when time ran out."""
        done: Future[None] = Future()
        with self._changed:
            self._draining = True
            if not self._open:
                return True
            self._drains.add(done)
        try:
            await asyncio.wait_for(asyncio.wrap_future(done), timeout_s)
        except TimeoutError:
            return False
        finally:
            with self._changed:
                self._drains.discard(done)
        return True

    def close(self) -> None:
        """End the loop and wait for it. Open requests end with finish reason "abort"."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
            started = self._thread.ident is not None
        if started:
            self._thread.join()
        elif not self._dead:
            self._run()  # ends at once, but not without an end for every open request

    async def generate(
        self,
        prompt: str | list[int],
        params: SamplingParams,
        *,
        request_id: str | None = None,
        priority: int = 0,
    ) -> AsyncGenerator[RequestDelta, None]:
        """Stream one request, text or token ids; the last delta is the one that is finished.

        What came while the consumer was busy comes as one delta. Closing the generator, or
        cancelling the task that waits for it, aborts the request and frees its memory before the
        next step.

        priority: lower runs first. request_id: of no other open request; None makes one up.

        Raises at the first step InvalidRequestError or CapacityError for a request that cannot be
        served, QueueFullError when too many wait, EngineDeadError when the engine takes no requests
        any more; later EngineDeadError when the loop dies. A step that fails is no exception: its
        requests end with finish reason "error", and the delta carries the error.
        """
        with self._changed:
            self._check_open()  # before the work of tokenising
        make = partial(
            self.engine.make_request,
            prompt,
            params,
            request_id=request_id or f"request-{uuid4().hex}",
            priority=priority,
        )
        is_long = isinstance(prompt, str | list) and len(prompt) >= _LONG_PROMPT
        request = await asyncio.to_thread(make) if is_long else make()
        stream = RequestStream(request, asyncio.get_running_loop())
        self._submit(stream)
        finished = False
        try:
            while not finished:
                delta = await stream.take()
                finished = delta.finished
                yield delta
        finally:
            if not finished:
                self._discard(stream)

    async def abort(self, request_id: str) -> bool:
        """End a request; its stream gets a last delta. False when no such request is open."""
        done: Future[bool] = Future()
        with self._changed:
            if request_id not in self._open:
                return False
            self._post(_Abort(request_id, done))
        return await asyncio.wrap_future(done)

    def is_healthy(self, stall_s: float) -> bool:
        """False when the loop has ended, or no step for `stall_s` seconds with work queued."""
        with self._changed:
            if self._dead or self._stopping:
                return False
            return not self._open or time.monotonic() - self._last_progress < stall_s

    def stats(self) -> EngineStats:
        """As of the last step; what was submitted since counts as waiting. From any thread."""
        return replace(self._stats, waiting=self._stats.waiting + self._unseen)

    # What the coroutines do.

    def _check_alive(self) -> None:
        if self._dead or self._stopping:
            raise _dead_error(self._cause)

    def _check_open(self) -> None:
        self._check_alive()
        if self._draining:
            msg = "the engine is shutting down and takes no new requests"
            raise EngineDeadError(msg)
        stats = self._stats
        # While nobody waits, as many as have a place will not wait either.
        places = 0 if stats.waiting else self.engine.config.max_num_seqs - stats.running
        waiting = stats.waiting + max(self._unseen - places, 0)
        if waiting >= self._max_waiting:
            msg = f"{waiting} sequences wait, at most {self._max_waiting} may; try again later"
            raise QueueFullError(msg)

    def _submit(self, stream: RequestStream) -> None:
        request = stream.request
        with self._changed:
            self._check_open()
            if request.request_id in self._open:
                msg = f"request_id {request.request_id!r} is in use; choose another"
                raise InvalidRequestError(msg, parameter="request_id")
            if not self._open:
                self._last_progress = time.monotonic()
            self._open[request.request_id] = stream
            self._unseen += request.params.n
            self._post(_Submission(stream))

    def _discard(self, stream: RequestStream) -> None:
        with self._changed:
            if self._open.get(stream.request.request_id) is stream:
                self._post(_Abort(stream.request.request_id, None))

    def _post(self, command: _Submission | _Abort) -> None:
        self._inbox.append(command)
        self._changed.notify()

    # What the loop thread does.

    def _run(self) -> None:
        cause: BaseException | None = None
        try:
            while not self._wait_for_work():
                self._obey()
                if self.engine.unfinished_requests:
                    advanced = self.engine.step()
                    self._counters.count_step()
                    self._publish(advanced)
            self._obey()
            self._abort(list(self.engine.unfinished_requests))
        except BaseException as error:
            cause = error
        self._die(cause)

    def _wait_for_work(self) -> bool:
        """Sleep while there is nothing to do; true when the loop is to end."""
        with self._changed:
            while not (self._stopping or self._inbox or self.engine.unfinished_requests):
                self._changed.wait()
            return self._stopping

    def _obey(self) -> None:
        """Do what the inbox says, in its order: an id may be in use again after its abort."""
        while self._inbox:
            command = self._inbox[0]
            if isinstance(command, _Submission):
                self.engine.submit(command.stream.request)
                self._taken += command.stream.request.params.n
            else:
                found = self._abort([command.request_id])
                if command.done is not None:
                    _resolve(command.done, found)
            self._inbox.popleft()  # only now: what fails is still there for `_die`

    def _abort(self, request_ids: Iterable[str]) -> bool:
        aborted = [self.engine.abort_request(request_id) for request_id in request_ids]
        found = [request for request in aborted if request is not None]
        self._publish(found)
        return bool(found)

    def _publish(self, requests: Iterable[Request]) -> None:
        """Send what requests gained to their streams, with one call for each event loop."""
        batches: dict[asyncio.AbstractEventLoop, list[tuple[RequestStream, RequestDelta]]] = {}
        ended: list[str] = []
        for request in requests:
            delta = request.take_delta()
            if delta is None:
                continue
            stream = self._open[request.request_id]
            self._counters.count_delta(request, delta)
            batches.setdefault(stream.event_loop, []).append((stream, delta))
            if delta.finished:
                ended.append(request.request_id)
        stats = self._counters.read(self.engine)
        with self._changed:
            self._last_progress = time.monotonic()
            self._stats = stats
            self._unseen -= self._taken
            self._taken = 0
            for request_id in ended:  # before the consumer may use the id again
                del self._open[request_id]
            drains = [] if self._open else list(self._drains)
        for event_loop, batch in batches.items():
            if not _call(event_loop, partial(_push, batch)):
                for stream, _ in batch:
                    self._discard(stream)
        for done in drains:
            _resolve(done, None)

    def _die(self, cause: BaseException | None) -> None:
        """Nobody steps the engine any more: let nobody wait for it."""
        with self._changed:
            self._dead = True
            self._cause = cause
            streams = list(self._open.values())
            commands = list(self._inbox)
            drains = list(self._drains)
            self._open.clear()
            self._inbox.clear()
        for stream in streams:
            # An exception keeps the traceback of whoever raised it, so each gets its own.
            _call(stream.event_loop, partial(stream.fail, _dead_error(cause)))
        for command in commands:
            if isinstance(command, _Abort) and command.done is not None:
                _resolve(command.done, False)
        for done in drains:
            _resolve(done, None)


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
    if done.set_running_or_notify_cancel():  # its waiter may have been cancelled
        done.set_result(result)


def _dead_error(cause: BaseException | None) -> EngineDeadError:
    if cause is None:
        return EngineDeadError("the engine is closed")
    error = EngineDeadError(f"the engine loop has ended: {cause!r}")
    error.__cause__ = cause
    return error
