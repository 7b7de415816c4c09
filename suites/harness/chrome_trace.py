"""A trace in the JSON that chrome://tracing and ui.perfetto.dev open."""

from __future__ import annotations

from typing import Any

from suites.harness.kernel_names import short_name
from suites.harness.trace_events import ApiCall, Copy, DeviceEvent, HostEvent, Kernel, Range, Trace

_HOST = 0  # process id of the host; a device's is one more than its index
_COPIES = 1_000_000  # added to a stream's number for the row of its copies and fills
_RANGES = -1  # times a thread's number: the row of its ranges


def chrome_trace(trace: Trace) -> dict[str, Any]:
    """Devices as processes with a row a stream and one for its copies; threads of the host above.

    Times are microseconds since the trace began.
    """
    events = [*trace.device_events, *trace.calls, *trace.ranges]
    rows: dict[tuple[int, int], str] = {}
    for event in events:
        rows.setdefault(_row(event), _title(event))
    processes = {process for process, _ in rows}
    return {
        "displayTimeUnit": "ns",
        "traceEvents": [
            *(_named("process_name", process, 0, _process(process))
              for process in sorted(processes)),
            *(_named("thread_name", *row, title) for row, title in sorted(rows.items())),
            *(_slice(event, trace.start_ns)
              for event in sorted(events, key=lambda event: event.start_ns)),
        ],
    }  # fmt: skip


def _row(event: DeviceEvent | HostEvent) -> tuple[int, int]:
    if isinstance(event, Range):
        return _HOST, _RANGES * event.thread
    if isinstance(event, ApiCall):
        return _HOST, event.thread
    apart = 0 if isinstance(event, Kernel) else _COPIES
    return event.device + 1, event.stream + apart


def _title(event: DeviceEvent | HostEvent) -> str:
    if isinstance(event, Range):
        return "ranges"
    if isinstance(event, ApiCall):
        return "CUDA calls"
    return f"stream {event.stream}" + ("" if isinstance(event, Kernel) else ", copies")


def _process(number: int) -> str:
    return "host" if number == _HOST else f"GPU {number - 1}"


def _slice(event: DeviceEvent | HostEvent, began_ns: int) -> dict[str, Any]:
    process, thread = _row(event)
    return {
        "ph": "X",
        "name": _name(event),
        "pid": process,
        "tid": thread,
        "ts": (event.start_ns - began_ns) / 1000,
        "dur": (event.end_ns - event.start_ns) / 1000,
        "args": _details(event),
    }


def _name(event: DeviceEvent | HostEvent) -> str:
    if isinstance(event, Kernel):
        return short_name(event.name)
    if isinstance(event, Copy):
        return event.direction
    return event.name if isinstance(event, HostEvent) else "memset"


def _details(event: DeviceEvent | HostEvent) -> dict[str, Any]:
    if isinstance(event, Kernel):
        return {"grid": list(event.grid), "block": list(event.block), "kernel": event.name}
    return {} if isinstance(event, HostEvent) else {"bytes": event.size_bytes}


def _named(what: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}
