"""What a trace of a GPU consists of. Times are nanoseconds on one clock of host and device."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that ran. name: demangled, with everything. grid, block: blocks and threads."""

    name: str
    start_ns: int
    end_ns: int
    device: int
    stream: int
    grid: tuple[int, int, int]
    block: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that a copy engine or kernel of the driver made. direction: "host to device"."""

    direction: str
    start_ns: int
    end_ns: int
    device: int
    stream: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Fill:
    """A memset."""

    start_ns: int
    end_ns: int
    device: int
    stream: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A call of the CUDA runtime or driver by a thread of the host, without version suffix."""

    name: str
    start_ns: int
    end_ns: int
    thread: int


@dataclass(frozen=True, slots=True)
class Range:
    """A named stretch of a thread's time (NVTX).

    domain: whose name it is, "stagegate" for ours; None for that of a program without one.
    """

    domain: str | None
    name: str
    start_ns: int
    end_ns: int
    thread: int


@dataclass(frozen=True, slots=True)
class Mark:
    """One end of a Range, which has a number. name: None at its end."""

    number: int
    domain: str | None
    name: str | None
    at_ns: int
    thread: int


DeviceEvent = Kernel | Copy | Fill
HostEvent = ApiCall | Range
Event = DeviceEvent | ApiCall | Mark


@dataclass(slots=True)
class Trace:
    """What ran between start_ns and end_ns, each kind in the order of its start."""

    start_ns: int = 0
    end_ns: int = 0
    kernels: list[Kernel] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    calls: list[ApiCall] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    _open: dict[int, Mark] = field(default_factory=dict)

    @property
    def device_events(self) -> list[DeviceEvent]:
        return [*self.kernels, *self.copies, *self.fills]

    def add(self, event: Event) -> None:
        if isinstance(event, Kernel):
            self.kernels.append(event)
        elif isinstance(event, Copy):
            self.copies.append(event)
        elif isinstance(event, Fill):
            self.fills.append(event)
        elif isinstance(event, ApiCall):
            self.calls.append(event)
        elif event.name is not None:
            self._open[event.number] = event
        elif (mark := self._open.pop(event.number, None)) is not None and mark.name is not None:
            self.ranges.append(Range(mark.domain, mark.name, mark.at_ns, event.at_ns, mark.thread))

    def sort(self) -> None:
        for events in (self.kernels, self.copies, self.fills, self.calls):
            events.sort(key=lambda event: event.start_ns)
        # What begins together, the longest first: it is around the others.
        self.ranges.sort(key=lambda event: (event.start_ns, -event.end_ns))
