"""Where the time of a traced round went."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from stagegate_baselines.records import CopyTime, HotPath, KernelTime
from stagegate_harness.kernel_names import short_name
from stagegate_harness.trace_events import Copy, DeviceEvent, Kernel, Trace


def hot_path_of(trace: Trace) -> HotPath | None:
    """Kernels by name and copies by direction; None when no kernel ran.

    A memset counts as a kernel named memset: on the device it is one.
    """
    if not trace.kernels:
        return None
    kernels: dict[str, list[DeviceEvent]] = defaultdict(list)
    copies: dict[str, list[Copy]] = defaultdict(list)
    for kernel in trace.kernels:
        kernels[short_name(kernel.name)].append(kernel)
    for copy in trace.copies:
        copies[copy.direction].append(copy)
    if trace.fills:
        kernels["memset"] += trace.fills
    times = [KernelTime(name=name, calls=len(events), total_us=_total_us(events))
             for name, events in kernels.items()]  # fmt: skip
    return HotPath(
        wall_us=_us(trace.end_ns - trace.start_ns),
        busy_us=busy_us(trace.device_events),
        kernels=tuple(sorted(times, key=lambda item: (-item.total_us, item.name))),
        copies=tuple(
            CopyTime(
                direction=direction,
                count=len(events),
                size_bytes=sum(event.size_bytes for event in events),
                total_us=_total_us(events),
            )
            for direction, events in sorted(copies.items())
        ),
    )


def busy_us(events: Iterable[DeviceEvent]) -> float:
    """How long at least one of the events ran."""
    busy, reached = 0, 0
    for start, end in sorted((event.start_ns, event.end_ns) for event in events):
        if end > reached:
            busy += end - max(start, reached)
            reached = end
    return _us(busy)


def as_text(path: HotPath) -> str:
    """The table for a terminal."""
    lines = [f"{'kernel':44} {'calls':>7} {'total us':>11} {'share':>7} {'mean us':>9}"]
    lines += [
        f"{item.name[:44]:44} {item.calls:7} {item.total_us:11.1f} "
        f"{item.total_us / path.device_us:7.1%} {item.total_us / item.calls:9.2f}"
        for item in path.kernels
    ]
    lines += [
        f"{f'copies {item.direction}':44} {item.count:7} {item.total_us:11.1f} "
        f"{item.total_us / path.device_us:7.1%} {item.total_us / item.count:9.2f}"
        for item in path.copies
    ]
    return "\n".join([*lines, headline(path)])


def headline(path: HotPath) -> str:
    """One line: how busy the GPU was, and what took most of its time."""
    first = path.kernels[0]
    return (
        f"GPU busy {path.busy_us / path.wall_us:.1%} of {path.wall_us / 1000:.2f} ms, "
        f"{first.total_us / path.device_us:.1%} of its time in {first.name}"
    )


def kernel_counts(kernels: Iterable[Kernel]) -> Counter[str]:
    """How often a kernel of each short name ran."""
    return Counter(short_name(kernel.name) for kernel in kernels)


def _total_us(events: Iterable[DeviceEvent]) -> float:
    return _us(sum(event.end_ns - event.start_ns for event in events))


def _us(ns: int) -> float:
    return ns / 1000
