"""Which metrics have a value by CPU time, and which."""

from __future__ import annotations

from functools import partial

import pytest

from stagegate_baselines.kinds import Kind
from stagegate_baselines.records import Better, MetricClass
from stagegate_harness import metrics
from suites.adapter.metrics import KINDS

as_metric = partial(metrics.as_metric, declared=KINDS)
HALF = [0.5, 0.25, 1.0]


def test_a_time_shrinks_and_a_rate_grows() -> None:
    assert as_metric("call_us", [8.0, 8.0, None], on_cpu=HALF).cpu_samples == (4.0, 2.0, None)
    assert as_metric("tokens_per_sec", [8, 8, 8], on_cpu=HALF).cpu_samples == (16.0, 32.0, 8.0)
    assert as_metric("avg_tpot_ms", [8, 8, 8], on_cpu=HALF).cpu_samples == (4.0, 2.0, 8.0)


@pytest.mark.parametrize(
    "name", ["ttft_p99_ms", "completion_tokens", "tokens_per_cpu_sec", "share_of_copy", "seconds"]
)
def test_what_has_no_value_by_cpu_time(name: str) -> None:
    """A tail, a count, what is by CPU time already, and what is not judged."""
    assert as_metric(name, [8.0, 8.0, 8.0], on_cpu=HALF).cpu_samples == ()


def test_memory_has_none_whatever_its_unit() -> None:
    declared = {"peak": Kind("MiB", Better.LOWER, MetricClass.MEMORY)}
    assert as_metric("peak", [8.0, 8.0, 8.0], declared=declared, on_cpu=HALF).cpu_samples == ()
    bare = {"ratio_of": Kind("1", Better.HIGHER, MetricClass.THROUGHPUT)}
    assert as_metric("ratio_of", [8.0, 8.0, 8.0], declared=bare, on_cpu=HALF).cpu_samples == ()


@pytest.mark.parametrize("on_cpu", [[], [0.5, 0.5], [0.5, 0.5, 0.0]])
def test_rounds_that_were_not_all_measured_have_none(on_cpu: list[float]) -> None:
    assert as_metric("call_us", [8.0, 8.0, 8.0], on_cpu=on_cpu).cpu_samples == ()


def test_every_judged_kind_has_a_unit_that_is_understood() -> None:
    judged = (MetricClass.KERNEL, MetricClass.THROUGHPUT, MetricClass.LATENCY_P50)
    for name, kind in {**metrics.KINDS, **KINDS}.items():
        if kind.metric_class in judged and not kind.of_cpu:
            assert as_metric(name, [8.0, 8.0, 8.0], on_cpu=HALF).cpu_samples, name
