"""What the name of a metric stands for."""

from __future__ import annotations

from dataclasses import dataclass

from stagegate_baselines.records import Better, MetricClass


@dataclass(frozen=True)
class Kind:
    """floor: absolute difference, in the unit, below which a change does not matter.

    of_cpu: its clock is the processors' already, so that other work on the host does not slow it.
    """

    unit: str
    better: Better
    metric_class: MetricClass
    floor: float = 0.0
    of_cpu: bool = False
