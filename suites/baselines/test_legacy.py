"""The measurements of 2026-02-19 are in the store, as they were written down."""

from __future__ import annotations

import pytest

from stagegate_baselines.acceptable import faults
from stagegate_baselines.records import Record
from stagegate_baselines.store import Store
from suites.adapter import legacy
from suites.baselines.conftest import ROOT

# KV layout -> seconds, tokens/s, ms, hits, misses, saved tokens
ROWS = [
    ("slot", 1087.2130, 3.7251, 45300.54, 0, 0, 0),
    ("block", 801.0294, 5.0560, 33376.23, 16, 9, 2656),
    ("slot", 1708.4516, 2.3706, 71185.48, 0, 0, 0),
    ("block", 895.6154, 4.5220, 37317.31, 16, 9, 2656),
]


def test_the_rows() -> None:
    store = Store(ROOT / "baselines" / "store")
    stored = [record for record in map(store.load, store.entries()) if record.legacy is not None]
    assert sorted(stored, key=_row) == [record for _, record in legacy.records()]
    found = []
    for record in sorted(stored, key=_row):
        [case] = record.cases
        samples = {metric.name: metric.samples[0] for metric in case.metrics}
        assert samples["completion_tokens"] == 4050
        seconds = samples["seconds"]
        assert seconds is not None
        # The row agrees with itself: 4050 tokens, 24 requests.
        assert samples["tokens_per_sec"] == pytest.approx(4050 / seconds, rel=2e-5)
        assert samples["avg_req_latency_ms"] == pytest.approx(1000 * seconds / 24)
        found.append((case.params["kv_layout"], *list(samples.values())[1:]))
        assert record.machine.cpu == "unknown"
        assert list(faults(record)) == ["it is a legacy record, of no run of these suites"]
    assert found == ROWS


def _row(record: Record) -> str:
    """They have one time and say which row they are."""
    return str(record.legacy)


def test_they_are_added_once(store: Store) -> None:
    assert len(legacy.add_to(store)) == 4
    assert legacy.add_to(store) == []
    assert len(store.entries()) == 4
