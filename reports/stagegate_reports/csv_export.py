"""The metrics of a report as CSV, one row for each metric of each case."""

from __future__ import annotations

import csv
import io

from stagegate_baselines.escaping import csv_cell
from stagegate_reports.model import CaseView, MetricView, Report

COLUMNS = (
    "stage", "suite", "case", "metric", "unit", "better", "value", "low", "high", "launches",
    "rounds", "baseline", "baseline_version", "compared", "verdict", "reason", "change",
    "interval_low", "interval_high", "margin_low", "margin_high", "launch_sd", "p", "invalid",
    "params", "workload_hash", "model_digest", "machine_key",
)  # fmt: skip


def render(report: Report) -> str:
    """Numbers in full, without units; shares as fractions. Lines end as RFC 4180 has it."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for case in report.cases:
        for metric in case.metrics:
            writer.writerow([_cell(value) for value in _row(case, metric)])
    return buffer.getvalue()


def _row(case: CaseView, metric: MetricView) -> tuple[str | float | None, ...]:
    said = metric.verdict
    interval = said.interval if said and said.interval else (None, None)
    margin = said.margin if said and said.margin else (None, None)
    return (
        case.stage,
        case.suite,
        case.name,
        metric.name,
        metric.unit,
        metric.better.value,
        metric.value,
        metric.low,
        metric.high,
        len(metric.launches),
        sum(sample is not None for launch in metric.launches for sample in launch),
        metric.baseline,
        case.baseline_label,
        case.compared,
        metric.verdict_word,
        metric.reason or None,
        metric.change,
        *interval,
        *margin,
        said.launch_sd if said else None,
        said.p if said else None,
        "; ".join(case.invalid),
        "; ".join(f"{name}={value}" for name, value in case.params),
        case.workload_hash,
        case.model_digest,
        case.machine_key,
    )


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    return csv_cell(value) if isinstance(value, str) else repr(value)
