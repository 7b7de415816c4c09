"""Stored records as a file of pytest-benchmark, for `pytest-benchmark compare`."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

from stagegate_baselines.records import Case, Metric, Record
from stagegate_baselines.store import Store, StoreError

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def export(options: Namespace, store: Store) -> None:
    """Write the launches of the set of a record, each metric as a benchmark of its rounds."""
    entry = store.find(options.name)
    document = as_benchmarks([store.load(item) for item in store.launches(entry)])
    if not document["benchmarks"]:
        msg = f"{entry.name} has no metric that is a time or a rate; there is nothing to compare"
        raise StoreError(msg)
    try:
        options.file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        msg = f"{options.file}: cannot be written: {error.strerror}"
        raise StoreError(msg) from error
    print(options.file)


def as_benchmarks(launches: Sequence[Record]) -> dict[str, Any]:
    """The document of a set of launches. Metrics that are no time and no rate are left out.

    pytest-benchmark knows seconds alone, of which fewer are better: a rate such as tokens a second
    becomes the seconds of one token, and its OPS column is the rate again. What only has another
    metric or case beside it is in another group, so that only like is ranked with like.
    """
    rounds: dict[tuple[str, str], list[float]] = {}
    cases: dict[tuple[str, str], Case] = {}
    left_out: dict[str, None] = {}
    for record in launches:
        for case in record.cases:
            for metric in case.metrics:
                seconds = _seconds(metric)
                if not seconds:
                    left_out[metric.name] = None
                    continue
                key = (case.name, metric.name)
                cases[key] = case
                rounds.setdefault(key, []).extend(seconds)
    if left_out:
        print(f"left out, no positive times or rates: {', '.join(left_out)}", file=sys.stderr)
    newest = launches[-1]
    return {
        "machine_info": newest.machine.model_dump(mode="json"),
        "commit_info": {
            "id": newest.environment.git_revision,
            "dirty": newest.environment.git_dirty,
        },
        "benchmarks": [_benchmark(cases[key], key[1], rounds[key]) for key in rounds],
        "datetime": newest.created,
        "version": newest.environment.packages.get("pytest-benchmark", "unknown"),
    }


def _seconds(metric: Metric) -> list[float]:
    """Of each round that gave a positive value; none for a unit that is no time or rate."""
    convert: Callable[[float], float]
    if (scale := _SECONDS.get(metric.unit)) is not None:
        convert = scale.__mul__
    elif metric.unit.endswith("/s"):
        convert = (1.0).__truediv__
    else:
        return []
    return [convert(sample) for sample in metric.samples if sample is not None and sample > 0]


def _benchmark(case: Case, metric: str, seconds: Sequence[float]) -> dict[str, Any]:
    from pytest_benchmark.stats import Stats

    stats = Stats()
    for sample in seconds:
        stats.update(sample)
    name = f"{case.name} {metric}"
    return {
        "group": name,
        "name": name,
        "fullname": f"suites/{case.suite}::{name}",
        "params": case.params,
        "param": None,
        "extra_info": {"workload_hash": case.workload_hash, "model_digest": case.model_digest},
        "options": {},
        "stats": {**stats.as_dict(), "data": list(seconds), "iterations": 1},
    }
