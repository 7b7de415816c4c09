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


DeviceEvent = Kernel | Copy | Fill
Event = DeviceEvent | ApiCall


@dataclass(slots=True)
class Trace:
    """What ran between start_ns and end_ns, each kind in the order of its start."""

    start_ns: int = 0
    end_ns: int = 0
    kernels: list[Kernel] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    calls: list[ApiCall] = field(default_factory=list)

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
        else:
            self.calls.append(event)

    def sort(self) -> None:
        for events in (self.kernels, self.copies, self.fills, self.calls):
            events.sort(key=lambda event: event.start_ns)
