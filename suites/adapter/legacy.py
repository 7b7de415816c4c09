"""Four measurements on a CPU from before records were kept: 2026-02-19, slot and block, twice.

They are history to look at, never a baseline: the machine, the software and the exact work behind
them were not written down. Their machine is "unknown" with every size 0, which no real one has.
"""

from __future__ import annotations

from dataclasses import dataclass

from stagegate_baselines.fingerprint import digest
from stagegate_baselines.records import (
    SCHEMA_VERSION,
    Better,
    Case,
    Environment,
    Machine,
    Metric,
    MetricClass,
    Record,
    Scalar,
)
from stagegate_baselines.store import Entry, Store

_NOTE = (
    "Written down on 2026-02-19, before records were kept; the time of day is not known. Machine, "
    "software and revision are not known either: 'unknown' and 0 stand for them. The only sample "
    "of a metric is what was noted: totals and means over the three rounds together."
)
_PARAMS: dict[str, Scalar] = {
    "model": "DeepSeek-R1-Distill-Qwen-1.5B",
    "device": "cpu",
    "prompts": 8,
    "rounds": 3,
    "max_input": 256,
    "max_output": 256,
    "max_model_len": 2048,
    "kv_capacity_tokens": 8192,
    "num_threads": 8,
}
_COMPLETION_TOKENS = 4050


@dataclass(frozen=True)
class _Row:
    kv_layout: str
    seconds: float
    tokens_per_sec: float
    avg_req_latency_ms: float
    prefix_hits: int
    prefix_misses: int
    prefix_saved_tokens: int


_ROWS = (
    _Row("slot", 1087.2130, 3.7251, 45300.54, 0, 0, 0),
    _Row("block", 801.0294, 5.0560, 33376.23, 16, 9, 2656),
    _Row("slot", 1708.4516, 2.3706, 71185.48, 0, 0, 0),
    _Row("block", 895.6154, 4.5220, 37317.31, 16, 9, 2656),
)


def records() -> list[tuple[str, Record]]:
    """Label and record of each row, in the order they were written down."""
    return [
        (f"legacy-{row.kv_layout}-{1 + index // 2}", _record(index, row))
        for index, row in enumerate(_ROWS)
    ]


def add_to(store: Store) -> list[Entry]:
    """Add the rows a store does not have yet."""
    labels = {entry.label for entry in store.entries()}
    return [store.add(record, label) for label, record in records() if label not in labels]


def _record(index: int, row: _Row) -> Record:
    machine = Machine(cpu="unknown", physical_cores=0, logical_cores=0, memory_bytes=0, gpus=())
    environment = Environment(
        python="unknown",
        compiler="unknown",
        build_type="unknown",
        cuda=None,
        onednn=None,
        packages={},
        variables={"OMP_NUM_THREADS": "8"},
        num_threads=8,
        git_revision=None,
        git_dirty=None,
    )
    return Record(
        schema_version=SCHEMA_VERSION,
        created="2026-02-19T00:00:00Z",
        stage="stage0",
        machine_key=digest(machine),
        environment_key=digest(environment),
        machine=machine,
        environment=environment,
        cases=(_case(row),),
        evidence=(),
        legacy=f"Row {index + 1} of {len(_ROWS)}. {_NOTE}",
    )


def _case(row: _Row) -> Case:
    params = {"kv_layout": row.kv_layout, **_PARAMS}
    higher, lower, info = Better.HIGHER, Better.LOWER, MetricClass.INFO
    return Case(
        name=f"legacy_kv_layout[{row.kv_layout}]",
        suite="offline",
        params=params,
        workload_hash=digest({"code": "unknown", "params": params}),
        model_digest=None,
        metrics=(
            _metric("completion_tokens", "1", higher, info, _COMPLETION_TOKENS),
            _metric("seconds", "s", lower, info, row.seconds),
            _metric("tokens_per_sec", "tok/s", higher, MetricClass.THROUGHPUT, row.tokens_per_sec),
            _metric(
                "avg_req_latency_ms", "ms", lower, MetricClass.LATENCY_P50, row.avg_req_latency_ms
            ),
            _metric("prefix_hits", "1", higher, info, row.prefix_hits),
            _metric("prefix_misses", "1", lower, info, row.prefix_misses),
            _metric("prefix_saved_tokens", "1", higher, info, row.prefix_saved_tokens),
        ),
    )


def _metric(
    name: str, unit: str, better: Better, metric_class: MetricClass, value: float
) -> Metric:
    return Metric(name=name, unit=unit, better=better, metric_class=metric_class, samples=(value,))
