"""The metrics that benchmarks report: unit, direction and class."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from stagegate_baselines.kinds import Kind
from stagegate_baselines.records import Better, Metric, MetricClass

# What the harness measures itself; a project declares its own.
KINDS: Mapping[str, Kind] = {
    "seconds": Kind("s", Better.LOWER, MetricClass.INFO),  # the rate says the same
    "latency_us": Kind("us", Better.LOWER, MetricClass.LATENCY_P50),
    # The clock and the call from Python are not good to less than some microseconds.
    "call_us": Kind("us", Better.LOWER, MetricClass.KERNEL, floor=3.0),
    "gbytes_per_s": Kind("GB/s", Better.HIGHER, MetricClass.INFO),
    "gflops_per_s": Kind("GFLOP/s", Better.HIGHER, MetricClass.INFO),
    "share_of_copy": Kind("1", Better.HIGHER, MetricClass.INFO),
    "share_of_read": Kind("1", Better.HIGHER, MetricClass.INFO),
    "share_of_matmul": Kind("1", Better.HIGHER, MetricClass.INFO),
}


class UnknownMetricError(ValueError):
    """A benchmark gave a metric that nothing says the unit and direction of."""


def kind_of(name: str, declared: Mapping[str, Kind]) -> Kind:
    """What a name stands for, by the table or by what a benchmark declares itself.

    Raises UnknownMetricError for a name that neither has, or that they say different things of.
    """
    kind, own = KINDS.get(name), declared.get(name)
    if kind is not None and own is not None and kind != own:
        msg = f"metric {name!r} is {kind} to the harness, and the project says {own}"
        raise UnknownMetricError(msg)
    found = kind or own
    if found is None:
        msg = (
            f"metric {name!r} is not declared: add [tool.stagegate.metrics.{name}] with unit, "
            f"better and class to pyproject.toml, or say measure(..., metrics={{{name!r}: "
            "Kind(unit, better, metric_class)})"
        )
        raise UnknownMetricError(msg)
    return found


def declared_by(project: Mapping[str, Kind], benchmark: Mapping[str, Kind]) -> Mapping[str, Kind]:
    """What a project and one of its benchmarks declare. Raises UnknownMetricError."""
    for name, own in benchmark.items():
        if project.get(name, own) != own:
            msg = f"metric {name!r} is {project[name]} in the project, and the benchmark says {own}"
            raise UnknownMetricError(msg)
    return {**project, **benchmark}


def check_round(values: object, declared: Mapping[str, Kind]) -> None:
    """Raises UnknownMetricError for a name, TypeError or ValueError for a value, of no metric."""
    if not isinstance(values, Mapping):
        msg = f"a round returned {values!r}, and has to return its metrics, name -> number or None"
        raise TypeError(msg)
    for name, value in values.items():
        kind_of(name, declared)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            msg = f"metric {name!r} is {value!r}, and has to be a number or None"
            raise TypeError(msg)
        if not math.isfinite(value):
            msg = f"metric {name!r} is {value!r}; a round that could not give it returns None"
            raise ValueError(msg)


# Where a tail lies in a round, its share of the processors is unlike that of the whole.
_SPREAD_OVER_THE_ROUND = (
    MetricClass.KERNEL,
    MetricClass.THROUGHPUT,
    MetricClass.LATENCY_P50,
)
_TIMES = ("s", "ms", "us")


def as_metric(
    name: str,
    samples: Sequence[float | int | None],
    declared: Mapping[str, Kind] = MappingProxyType({}),
    *,
    on_cpu: Sequence[float] = (),
) -> Metric:
    """Samples with what the name stands for. Raises UnknownMetricError.

    on_cpu: by round, CPU seconds of the process as a share of those on the wall; for times and
    rates that is what turns one into the other.
    """
    kind = kind_of(name, declared)
    return Metric(
        name=name,
        unit=kind.unit,
        better=kind.better,
        metric_class=kind.metric_class,
        floor=kind.floor,
        samples=tuple(samples),
        cpu_samples=_by_cpu_time(kind, samples, on_cpu),
    )


def for_information(metric: Metric) -> Metric:
    """The same samples, which no gate looks at."""
    return metric.model_copy(update={"metric_class": MetricClass.INFO})


def _by_cpu_time(
    kind: Kind, samples: Sequence[float | int | None], on_cpu: Sequence[float]
) -> tuple[float | None, ...]:
    """The samples if the clock ran on the processors; empty where that means nothing."""
    if kind.of_cpu or kind.metric_class not in _SPREAD_OVER_THE_ROUND:
        return ()
    if len(on_cpu) != len(samples) or min(on_cpu, default=0.0) <= 0:
        return ()
    if kind.unit in _TIMES:
        scaled = [
            None if value is None else value * share
            for value, share in zip(samples, on_cpu, strict=True)
        ]
    elif kind.unit.endswith("/s"):
        scaled = [
            None if value is None else value / share
            for value, share in zip(samples, on_cpu, strict=True)
        ]
    else:
        return ()
    return tuple(scaled)
