"""The conditions under which launches ran, and the clock by which they can be judged.

Work takes longer on a busy host or a busy GPU. The controls, fixed pieces of work that run beside
the rounds, show when that happens. A case that is one thread and never waits can be judged by its
CPU time instead, which other processes do not add to.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from stagegate_baselines.gate.statistics import Control
from stagegate_baselines.records import Case, HostTime, Metric
from stagegate_baselines.samples import median

# A control that varies by more from launch to launch says that something else was running, and so
# do rounds that queued for a processor for more of their time.
DISTURBED = 0.02

# Of the time of a round, the part with a processor or queued for one. Less is waiting for something
# else; more is several threads, which may wait for each other by spinning.
ONE_BUSY_THREAD = (0.90, 1.10)
# CPU time does not see a wait: it cannot judge where one side waits for more of its time.
MOST_WAITING_APART = 0.02
# And not of what other processes did for the case.
MOST_IN_CHILDREN = 0.01


class Clock(StrEnum):
    """What a metric is judged by: time on the wall, or time with a processor."""

    WALL = "wall"
    CPU = "cpu"


class Beside(StrEnum):
    """A control: what of a fixed piece of work was measured beside the rounds."""

    HOST = "host"
    HOST_CPU = "host-cpu"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class Launch:
    """What one process measured of one case, and the machine it ran on.

    machine_kind: processor and GPUs, without what is set on them. device: that the engine ran on,
    "cpu" or "cuda"; None where that is not known.
    """

    machine_key: str
    machine_kind: str
    case: Case
    device: str | None = None

    def control(self, beside: Beside) -> float:
        """Median seconds of a control; NaN where there was none."""
        seconds = {
            Beside.HOST: self.case.control,
            Beside.HOST_CPU: self.case.control_cpu,
            Beside.DEVICE: self.case.device_control,
        }
        return median_or_nan(seconds[beside])


@dataclass(frozen=True, slots=True)
class Basis:
    """What an estimate rests on, for other launches to be judged in the same way.

    slope: of the control that was taken out, as in Estimate; None where none was.
    """

    clock: Clock = Clock.WALL
    control: Beside | None = None
    slope: float | None = None


@dataclass(frozen=True, slots=True)
class Conditions:
    """clock: to judge by. disturbed: what was busy with other work, the host or the device.

    beside, control: what to take out of the differences, if anything.
    host_sigma, device_sigma: standard deviation of the controls from launch to launch, as shares;
    None where they were not measured.
    """

    clock: Clock
    disturbed: Beside | None
    host_sigma: float | None
    device_sigma: float | None
    beside: Beside | None = None
    control: Control | None = None


def conditions(
    base: Sequence[Launch], new: Sequence[Launch], metric: str, basis: Basis | None = None
) -> Conditions:
    """base, new: launches of one case, two a side at least.

    basis: that other launches of it were judged by; these follow it.
    """
    basis = basis or Basis()
    launches = (*base, *new)
    host, device = (_spread(launches, beside) for beside in (Beside.HOST, Beside.DEVICE))
    host_busy = _exceeds(host) or _most_queued(launches) > DISTURBED
    disturbed = Beside.DEVICE if _exceeds(device) else Beside.HOST if host_busy else None
    by_cpu = host_busy or basis.clock is Clock.CPU
    if by_cpu and all(_has_cpu_time(side, metric) for side in (base, new)) and _alike(base, new):
        clock, beside = Clock.CPU, Beside.HOST_CPU
    else:
        clock, beside = Clock.WALL, Beside.DEVICE if _exceeds(device) else Beside.HOST
    slope = basis.slope if basis.clock is clock else None
    if slope is not None and basis.control is not None:
        beside = basis.control
    elif not _exceeds(_spread(launches, beside)):
        return Conditions(clock, disturbed, host, device)
    sides = [[launch.control(beside) for launch in side] for side in (base, new)]
    if not all(math.isfinite(value) and value > 0 for side in sides for value in side):
        return Conditions(clock, disturbed, host, device)
    return Conditions(clock, disturbed, host, device, beside, Control(sides[0], sides[1], slope))


def samples_of(metric: Metric, clock: Clock) -> Sequence[float | None]:
    return metric.cpu_samples if clock is Clock.CPU else metric.samples


def median_or_nan(samples: Iterable[float | None]) -> float:
    """The median of the samples that are not None; NaN, which no comparison accepts, if all are."""
    found = median(samples)
    return math.nan if found is None else found


def _spread(launches: Sequence[Launch], beside: Beside) -> float | None:
    """Standard deviation as a share; None where a launch lacks the control."""
    values = [launch.control(beside) for launch in launches]
    if not all(math.isfinite(value) and value > 0 for value in values):
        return None
    return float(np.std(np.log(values), ddof=1))


def _exceeds(sigma: float | None) -> bool:
    return sigma is not None and sigma > DISTURBED


def _most_queued(launches: Sequence[Launch]) -> float:
    """The largest share that a launch queued of the time its thread could run.

    Of launches on one thread: what waits, or has several, is no measure of the host.
    """
    shares = [0.0]
    for launch in launches:
        host = launch.case.host
        if host is not None and host.queued is not None and _is_one_busy_thread(host):
            shares.append(sum(host.queued) / sum(host.wall))
    return max(shares)


def _has_cpu_time(launches: Sequence[Launch], metric: str) -> bool:
    """Whether CPU seconds are known of a metric in every launch, and are all it costs."""
    return all(
        launch.device == "cpu"
        and launch.case.host is not None
        and _is_one_busy_thread(launch.case.host)
        and any(item.name == metric and item.cpu_samples for item in launch.case.metrics)
        for launch in launches
    )


def _is_one_busy_thread(host: HostTime) -> bool:
    least, most = ONE_BUSY_THREAD
    children = sum(host.children) / sum(host.wall)
    return least <= _busy(host) <= most and children <= MOST_IN_CHILDREN


def _busy(host: HostTime) -> float:
    """Time with a processor or queued for one, as a share of that on the wall; NaN if not known."""
    if host.queued is None:
        return math.nan
    return (sum(host.cpu) + sum(host.queued)) / sum(host.wall)


def _alike(base: Sequence[Launch], new: Sequence[Launch]) -> bool:
    """Whether the sides wait for about the same share of their time."""
    before, after = (
        # Above one is another thread that queued meanwhile, and no less of a wait.
        np.mean([min(1.0, _busy(item.case.host)) for item in side if item.case.host is not None])
        for side in (base, new)
    )
    return bool(abs(after - before) <= MOST_WAITING_APART)
