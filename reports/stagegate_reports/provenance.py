"""Where the numbers of a report came from: machines, environments, records, telemetry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stagegate_baselines.records import Record, TelemetrySample
from stagegate_reports.differences import facts


@dataclass(frozen=True, slots=True)
class TelemetryView:
    """One GPU during one record. series: (title, unit, a value or None per sample)."""

    gpu: int
    seconds: tuple[float, ...]
    series: tuple[tuple[str, str, tuple[float | None, ...]], ...]
    throttle_reasons: tuple[str, ...]
    other_processes: int


@dataclass(frozen=True, slots=True)
class RecordView:
    """Where one record came from."""

    stage: str | None
    created: str
    launch: int | None
    machine_key: str
    environment_key: str
    revision: str
    legacy: str | None
    telemetry: tuple[TelemetryView, ...]


@dataclass(frozen=True, slots=True)
class FactsView:
    """One machine or environment: its digest, and every fact as (name, value)."""

    key: str
    stages: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


def machines(records: Iterable[Record]) -> tuple[FactsView, ...]:
    """Every machine of the records once, in their order."""
    return _facts((r.machine_key, r.stage, facts(r.machine)) for r in records)


def environments(records: Iterable[Record]) -> tuple[FactsView, ...]:
    """Every environment of the records once, in their order."""
    return _facts((r.environment_key, r.stage, facts(r.environment)) for r in records)


def origin(record: Record) -> RecordView:
    """What tells a record from others, and its telemetry GPU by GPU."""
    gpus = sorted({sample.gpu for sample in record.telemetry})
    return RecordView(
        stage=record.stage,
        created=record.created,
        launch=record.launch,
        machine_key=record.machine_key,
        environment_key=record.environment_key,
        revision=revision(record),
        legacy=record.legacy,
        telemetry=tuple(
            _telemetry(gpu, [sample for sample in record.telemetry if sample.gpu == gpu])
            for gpu in gpus
        ),
    )


def revision(record: Record) -> str:
    """The revision in short, and whether the working tree had changes."""
    short = (record.environment.git_revision or "unknown")[:10]
    return f"{short} with changes" if record.environment.git_dirty else short


def _facts(found: Iterable[tuple[str, str | None, dict[str, str]]]) -> tuple[FactsView, ...]:
    views: dict[str, FactsView] = {}
    for key, stage, values in found:
        before = views[key].stages if key in views else ()
        stages = tuple(dict.fromkeys((*before, stage or "no stage")))
        views[key] = FactsView(key, stages, tuple(values.items()))
    return tuple(views.values())


def _telemetry(gpu: int, samples: Sequence[TelemetrySample]) -> TelemetryView:
    memory = [
        None if sample.memory_used_bytes is None else sample.memory_used_bytes / 2**30
        for sample in samples
    ]
    return TelemetryView(
        gpu=gpu,
        seconds=tuple(sample.seconds for sample in samples),
        series=(
            ("SM clock", "MHz", tuple(sample.sm_clock_mhz for sample in samples)),
            ("Memory clock", "MHz", tuple(sample.memory_clock_mhz for sample in samples)),
            ("Power", "W", tuple(sample.power_w for sample in samples)),
            ("Temperature", "°C", tuple(sample.temperature_c for sample in samples)),
            ("Memory used", "GiB", tuple(memory)),
        ),
        throttle_reasons=tuple(
            sorted({reason for sample in samples for reason in sample.throttle_reasons})
        ),
        other_processes=max((sample.other_processes for sample in samples), default=0),
    )
