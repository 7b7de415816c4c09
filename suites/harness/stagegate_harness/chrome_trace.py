"""A trace in the JSON that chrome://tracing and ui.perfetto.dev open."""

from __future__ import annotations

from typing import Any

from stagegate_harness.kernel_names import short_name
from stagegate_harness.trace_events import (
    ApiCall,
    Copy,
    DeviceEvent,
    HostEvent,
    Kernel,
    Range,
    Trace,
)

# Perfetto takes 0 for the idle process of Linux, and anything below for 0.
_HOST = 1  # process id of the host; those of the devices follow
_FIRST_ROW = 1000  # above them: a thread with the number of its process is its main thread

# Process; thread of the host or stream; whether it is the lower of the two rows of either.
_Row = tuple[int, int, bool]


def chrome_trace(trace: Trace) -> dict[str, Any]:
    """Devices as processes with a row a stream and one for its copies; threads of the host above.

    Times are microseconds since the trace began.
    """
    events = [*trace.device_events, *trace.calls, *trace.ranges]
    titles: dict[_Row, str] = {}
    for event in events:
        titles.setdefault(_row(event), _title(event))
    # The two viewers order rows by number, or by what is said of them: both are this order.
    numbers = {row: number for number, row in enumerate(sorted(titles), _FIRST_ROW)}
    return {
        "displayTimeUnit": "ns",
        "traceEvents": [
            # Every fact is told of a row; that of a process by each of its rows.
            *(_fact("process_name", row[0], number, name=_process(row[0]))
              for row, number in numbers.items()),
            *(_fact("thread_name", row[0], number, name=titles[row])
              for row, number in numbers.items()),
            *(_fact("thread_sort_index", row[0], number, sort_index=number)
              for row, number in numbers.items()),
            *(_slice(event, numbers[_row(event)], trace.start_ns)
              for event in sorted(events, key=lambda event: event.start_ns)),
        ],
    }  # fmt: skip


def _row(event: DeviceEvent | HostEvent) -> _Row:
    if isinstance(event, Range | ApiCall):
        return _HOST, event.thread, isinstance(event, ApiCall)
    return _HOST + 1 + event.device, event.stream, not isinstance(event, Kernel)


def _title(event: DeviceEvent | HostEvent) -> str:
    if isinstance(event, Range):
        return "ranges"
    if isinstance(event, ApiCall):
        return "CUDA calls"
    return f"stream {event.stream}" + ("" if isinstance(event, Kernel) else ", copies")


def _process(number: int) -> str:
    return "host" if number == _HOST else f"GPU {number - _HOST - 1}"


def _slice(event: DeviceEvent | HostEvent, number: int, began_ns: int) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": _name(event),
        "pid": _row(event)[0],
        "tid": number,
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


def _fact(what: str, process: int, row: int, **value: object) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": process, "tid": row, "args": value}
