"""Tracing GPUs with CUPTI, by NVIDIA's own binding for Python (cupti-python)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from stagegate_harness.kernel_names import demangled
from stagegate_harness.trace_events import ApiCall, Copy, Event, Fill, Kernel, Mark, Trace

# What the GPU does, and what the host asks of it. The runtime calls into the driver, so a call may
# have a record of each.
DEVICE_KINDS = ("CONCURRENT_KERNEL", "MEMCPY", "MEMSET")
RANGE_KINDS = ("MARKER",)
CALL_KINDS = ("RUNTIME", "DRIVER")

# Where the headers of NVTX look for the tool that takes ranges.
RANGES_VARIABLE = "NVTX_INJECTION64_PATH"

_BUFFER_BYTES = 8 * 2**20
_AS_MANY_AS_FIT = 0
_FORCED = 1

_SIDES = {"H": "host", "D": "device", "A": "array", "P": "peer"}


class TraceError(RuntimeError):
    """GPUs cannot be traced here, or the trace is not whole; the message says why."""


def missing() -> str | None:
    """Why nothing can be traced, and what to do about it; None when it can be.

    The answer is found by trying, so CUPTI is attached to this process from then on.
    """
    try:
        with kernel_trace():
            pass
    except TraceError as error:
        return str(error)
    return None


@contextmanager
def kernel_trace(*, calls: bool = False) -> Iterator[Trace]:
    """Trace what the `with` block runs on GPUs; the Trace is filled when the block ends.

    calls: also those of the runtime and the driver, which slows the host down further. The block
    has to wait for its own work. One trace at a time. Ranges are in it where RANGES_VARIABLE named
    CUPTI's library before the first range of the process. Raises TraceError.
    """
    collector = _collector()
    cupti = collector.cupti
    collector.begin(Trace())
    trace = collector.trace
    try:
        with ExitStack() as tracing:
            tracing.callback(_call, cupti.activity_flush_all, _FORCED)
            for name in DEVICE_KINDS + RANGE_KINDS + (CALL_KINDS if calls else ()):
                kind = getattr(cupti.ActivityKind, name)
                _call(cupti.activity_enable, kind)
                tracing.callback(_call, cupti.activity_disable, kind)
            trace.start_ns = _call(cupti.get_timestamp)
            yield trace
            trace.end_ns = _call(cupti.get_timestamp)
    finally:
        problems = collector.end()
    if problems:
        msg = f"{len(problems)} records of CUPTI were not understood, the first: {problems[0]!r}"
        raise TraceError(msg) from problems[0]
    trace.sort()
    unfinished = [event for event in trace.device_events if event.end_ns == 0]
    if unfinished:
        msg = f"{len(unfinished)} kernels or copies had not ended with the trace: wait for them"
        raise TraceError(msg)


class _Collector:
    """Takes the records that CUPTI hands to its process; outside of a trace they are dropped."""

    def __init__(self, cupti: ModuleType) -> None:
        self.cupti = cupti
        self.trace = Trace()
        self._is_tracing = False
        self._problems: list[Exception] = []
        _call(cupti.activity_register_callbacks, _request, self._completed)

    def begin(self, trace: Trace) -> None:
        if self._is_tracing:
            msg = "a trace is running already: CUPTI has one for the whole process"
            raise TraceError(msg)
        self.trace, self._is_tracing, self._problems = trace, True, []

    def end(self) -> list[Exception]:
        self._is_tracing = False
        return self._problems

    def _completed(self, activities: Sequence[Any]) -> None:
        # C calls this, so no exception gets through it, and the records end when it returns.
        for activity in activities if self._is_tracing else ():
            try:
                self.trace.add(as_event(self.cupti, activity))
            except Exception as error:
                self._problems.append(error)


@cache
def _collector() -> _Collector:
    return _Collector(_load())


def as_event(cupti: ModuleType, activity: Any) -> Event:
    """A record of CUPTI as a value of ours. ValueError for a kind that nobody enabled."""
    kinds = cupti.ActivityKind
    kind = kinds(activity.kind)
    if kind in (kinds.RUNTIME, kinds.DRIVER):
        domains = cupti.CallbackDomain
        domain = domains.RUNTIME_API if kind == kinds.RUNTIME else domains.DRIVER_API
        name = cupti.get_callback_name(domain, activity.cbid)
        return ApiCall(plain_call(name), activity.start, activity.end, activity.thread_id)
    if kind == kinds.MARKER:
        opens = activity.flags_ & cupti.ActivityFlag.MARKER_START
        name = activity.name if opens else None
        thread = activity.object_id.pt.thread_id
        # The binding has an empty text for the NULL of the domain without a name.
        return Mark(activity.id, activity.domain or None, name, activity.timestamp, thread)
    if kind.name not in DEVICE_KINDS:
        msg = f"a record of kind {kind.name}"
        raise ValueError(msg)
    where = (activity.start, activity.end, activity.device_id, activity.stream_id)
    if kind == kinds.MEMCPY:
        name = cupti.ActivityMemcpyKind(activity.copy_kind).name
        return Copy(direction_of(name), *where, activity.bytes)
    if kind == kinds.MEMSET:
        return Fill(*where, activity.bytes)
    return Kernel(
        demangled(activity.name),
        *where,
        grid=(activity.grid_x, activity.grid_y, activity.grid_z),
        block=(activity.block_x, activity.block_y, activity.block_z),
    )


def direction_of(copy_kind: str) -> str:
    """CUPTI's HTOD as "host to device"."""
    source, _, destination = copy_kind.partition("TO")
    if source in _SIDES and destination in _SIDES:
        return f"{_SIDES[source]} to {_SIDES[destination]}"
    return copy_kind.lower()


def plain_call(name: str) -> str:
    """CUPTI's cudaMemcpyAsync_v3020 or cudaLaunchKernel_ptsz_v7000 as programmers write it."""
    return re.sub(r"(_pt[sd]s?z)?(_v\d+)?(_pt[sd]s?z)?$", "", name)


def _request() -> tuple[int, int]:
    return _BUFFER_BYTES, _AS_MANY_AS_FIT


def _load() -> ModuleType:
    if find_spec("cupti") is None:
        msg = "no cupti-python (pip install -e '.[gpu]')"
        raise TraceError(msg)
    try:
        from cupti import cupti
    except (ImportError, OSError, RuntimeError) as error:
        msg = f"cupti-python cannot be loaded: {error}"
        raise TraceError(msg) from error
    loaded: ModuleType = cupti
    return loaded


def _call(function: Callable[..., Any], *arguments: object) -> Any:
    """A call of CUPTI. Its errors are cuptiError, or RuntimeError where a library is not there."""
    try:
        return function(*arguments)
    except Exception as error:
        msg = f"CUPTI: {getattr(function, '__name__', function)}: {error}"
        raise TraceError(msg) from error
