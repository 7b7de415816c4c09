"""How much a case differs from launch to launch when nothing has changed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from stagegate_baselines.gate.conditions import Clock, median_or_nan, samples_of
from stagegate_baselines.gate.verdict import CLASS_FLOORS, STORED
from stagegate_baselines.records import MetricClass, Record

# By name of the case, hash of its work, metric and clock: standard deviation of a launch, in
# logarithms.
Noise = Mapping[tuple[str, str, str, Clock], float]

# Of fewer a standard deviation says little: with four its 90 % interval is [0.65, 2.4] times it.
LEAST_DEGREES_OF_FREEDOM = 4


def launch_noise(groups: Iterable[Sequence[Record]]) -> Noise:
    """Pooled over groups; a group is launches of one revision on one machine."""
    squares: dict[tuple[str, str, str, Clock], float] = defaultdict(float)
    freedom: dict[tuple[str, str, str, Clock], int] = defaultdict(int)
    for group in groups:
        logs = defaultdict(list)
        for record in group:
            for key, value in _medians(record):
                logs[key].append(math.log(value))
        for key, values in logs.items():
            squares[key] += float(np.var(values)) * len(values)
            freedom[key] += len(values) - 1
    return {
        key: math.sqrt(squares[key] / freedom[key])
        for key in squares
        if freedom[key] >= LEAST_DEGREES_OF_FREEDOM
    }


def blindness(launches: Sequence[Record]) -> Iterable[tuple[str, str, float, float, str]]:
    """Of every judged metric: case, metric, launch sd, least change that --mode stored calls one,
    and a remark where that is more than the floor of its class.

    Against these launches and as many new ones, by time on the wall.
    """
    noise = launch_noise([launches])
    for (case, workload_hash, name, clock), sigma in sorted(noise.items()):
        if clock is not Clock.WALL:
            continue
        metric = next(
            metric
            for record in launches
            for known in record.cases
            if (known.name, known.workload_hash) == (case, workload_hash)
            for metric in known.metrics
            if metric.name == name
        )
        floor = CLASS_FLOORS[metric.metric_class]
        least = max(
            STORED.share_of_floor * floor, STORED.errors * sigma * math.sqrt(2 / len(launches))
        )
        remark = (
            f"the floor is {100 * floor:g} %: measure on a quieter host" if least > floor else ""
        )
        yield case, name, sigma, least, remark


def _medians(record: Record) -> Iterable[tuple[tuple[str, str, str, Clock], float]]:
    for case in record.cases:
        if case.invalid:
            continue
        for metric in case.metrics:
            if metric.metric_class is MetricClass.INFO:
                continue
            for clock in Clock:
                median = median_or_nan(samples_of(metric, clock))
                if median > 0:  # and a number
                    yield (case.name, case.workload_hash, metric.name, clock), median
