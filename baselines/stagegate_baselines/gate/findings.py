"""What a gate found, in the terms of its readers: verdict.json, tables, annotations, reports.

The rule counts in logarithms, where positive is worse. Here a change is that of the metric itself.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, Literal

from stagegate_baselines.gate.conditions import Clock
from stagegate_baselines.gate.escalation import GateResult
from stagegate_baselines.gate.verdict import Comparison, Judgement, Reason
from stagegate_baselines.quantities import natural
from stagegate_baselines.records import Better, Machine, Number, Strict, Text
from stagegate_baselines.states import Verdict

SCHEMA_VERSION: Final = 2

Ends = tuple[Number, Number]


class Finding(Strict):
    """One metric of one case.

    base_median, new_median: over the medians of the launches, in `unit`. change: estimate of the
    relative change of the metric, from the pairs of launches; with the control taken out it may
    differ from the ratio of the medians. interval: its 95 % confidence interval. margin: a change
    outside of it is beyond the margin. launch_sd, control_sd, device_control_sd: standard deviation
    from launch to launch, as a share, of the metric and of the controls on the host and on the GPU.
    judged_by: "cpu" where the host was disturbed and CPU time tells more than time on the wall; the
    numbers are then those of the metric by CPU time. p: one-sided, of "not worse", adjusted for all
    metrics judged. Null where nothing could be compared.
    launches: of the new side. detail: the words behind an invalid run.
    """

    case: Text
    metric: Text
    verdict: Verdict
    reason: Reason
    detail: Text = ""
    unit: Text = ""
    better: Better | None = None
    base_median: Number | None = None
    new_median: Number | None = None
    change: Number | None = None
    interval: Ends | None = None
    margin: Ends | None = None
    launch_sd: Number | None = None
    control_sd: Number | None = None
    device_control_sd: Number | None = None
    judged_by: Clock = Clock.WALL
    p: Number | None = None
    launches: int = 0

    @property
    def metric_by_clock(self) -> str:
        """The metric, with the clock where that is not the one on the wall."""
        return f"{self.metric}, CPU time" if self.judged_by is Clock.CPU else self.metric

    @classmethod
    def of(cls, item: Judgement) -> Finding:
        return cls(
            case=item.case,
            metric=item.metric,
            verdict=item.verdict,
            reason=item.reason,
            detail=item.detail,
            unit=item.unit,
            better=item.better,
            base_median=item.base_median,
            new_median=item.new_median,
            change=_change(item),
            interval=_ends(item.low, item.high, item.better),
            margin=_margin(item),
            launch_sd=item.sigma,
            control_sd=item.control_sigma,
            device_control_sd=item.device_control_sigma,
            judged_by=item.basis.clock,
            p=item.adjusted_p,
            launches=item.launches,
        )


class Revision(Strict):
    """One side. name: as the caller gave it. revision: the commit. dirty: with changes since."""

    name: Text
    revision: Text | None
    dirty: bool | None


class Verdicts(Strict):
    """The content of verdict.json. launches: of the new side. seconds: the gate took.

    machine: of the new side; with comparison "advisory" the base ran on another of its kind.
    """

    # Version 1 judged by time on the wall alone, and reads as such.
    schema_version: Literal[1, 2] = SCHEMA_VERSION
    stage: Text
    comparison: Comparison
    base: Revision
    new: Revision
    machine_key: Text
    machine: Machine
    exit_code: int
    launches: int
    seconds: Number
    out_of_time: bool
    failed_criteria: tuple[Text, ...]
    judgements: tuple[Finding, ...]


def findings(result: GateResult) -> tuple[Finding, ...]:
    return tuple(Finding.of(item) for item in result.judgements)


def write_verdicts(path: Path, verdicts: Verdicts) -> None:
    path.write_text(verdicts.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _change(item: Judgement) -> float | None:
    if item.effect is None or item.better is None:
        return None
    return natural(item.effect, item.better)


def _ends(low: float | None, high: float | None, better: Better | None) -> Ends | None:
    if low is None or high is None or better is None:
        return None
    first, second = sorted((natural(low, better), natural(high, better)))
    return first, second


def _margin(item: Judgement) -> Ends | None:
    """The margin is the same in both directions as a logarithm, and not as a share."""
    if item.margin is None:
        return None
    opposite = math.expm1(-math.log1p(item.margin))
    return _ends(opposite, item.margin, item.better)
