"""The hot path of a case as rows to show: kernels, most costly first, then copies."""

from __future__ import annotations

from dataclasses import dataclass

from stagegate_baselines.records import HotPath
from stagegate_reports.formatting import number, share


@dataclass(frozen=True, slots=True)
class HotRow:
    """share: of the time of all kernels and copies, added up."""

    name: str
    calls: int
    total_us: float
    share: float

    @property
    def mean_us(self) -> float:
        return self.total_us / self.calls


def hot_rows(path: HotPath) -> tuple[HotRow, ...]:
    whole = path.device_us or 1.0
    kernels = [
        HotRow(item.name, item.calls, item.total_us, item.total_us / whole)
        for item in path.kernels
    ]  # fmt: skip
    copies = [
        HotRow(
            f"copies {item.direction}, {number(item.size_bytes / 1024)} KiB",
            item.count,
            item.total_us,
            item.total_us / whole,
        )
        for item in path.copies
    ]
    return (*kernels, *copies)


def hot_sentence(path: HotPath) -> str:
    """How busy the GPU was, and what has to be known to read the numbers."""
    busy = share(path.busy_us / path.wall_us if path.wall_us else None)
    return (
        f"The GPU was busy for {busy} of {number(path.wall_us / 1000, 'ms')}. This round was "
        "traced, not timed: the tracer slows the host down, so the gaps are wider than in the "
        "rounds above."
    )
