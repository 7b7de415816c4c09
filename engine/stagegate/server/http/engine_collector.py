"""Prometheus collector for the engines' statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from stagegate.core.engine_stats import EngineStats
    from stagegate.core.histogram import HistogramReading
    from stagegate.server.http.models import ServedModel


class EngineCollector(Collector):
    """Reads the engines on each scrape."""

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self._models = models

    def collect(self) -> Iterable[Metric]:
        stats = {name: model.client.stats() for name, model in self._models.items()}
        for name, documentation, kind, read in _ENGINE_METRICS:
            metric = kind(f"stagegate:{name}", documentation, labels=("model_name",))
            for model, reading in stats.items():
                metric.add_metric((model,), read(reading))
            yield metric
        finished = CounterMetricFamily(
            "stagegate:request_success",
            "Requests that ended, by the reason.",
            labels=("model_name", "finished_reason"),
        )
        for model, reading in stats.items():
            for reason, count in reading.requests_total.items():
                finished.add_metric((model, reason), count)
        yield finished
        histograms = {name: model.client.histograms() for name, model in self._models.items()}
        for name, documentation, read in _ENGINE_HISTOGRAMS:
            family = HistogramMetricFamily(
                f"stagegate:{name}", documentation, labels=("model_name",)
            )
            for model, readings in histograms.items():
                reading = read(readings)
                family.add_metric((model,), _buckets(reading), reading.total)
            yield family


def _buckets(reading: HistogramReading) -> list[tuple[str, float]]:
    """Cumulative buckets, as Prometheus defines them."""
    bounds = [*(repr(float(bound)) for bound in reading.bounds), "+Inf"]
    return list(zip(bounds, accumulate(reading.counts), strict=True))


def _kv_usage(stats: EngineStats) -> float:
    return stats.kv_used_tokens / stats.kv_capacity_tokens


_ENGINE_HISTOGRAMS: Final = (
    (
        "inter_token_latency_seconds",
        "Time between two tokens of a sequence.",
        lambda histograms: histograms.inter_token_seconds,
    ),
    (
        "iteration_tokens_total",
        "Tokens of a step: generated ones, and prompts that it completed.",
        lambda histograms: histograms.step_tokens,
    ),
)

# Counters get _total behind their names.
_ENGINE_METRICS: Final = (
    ("num_requests_running", "Sequences in the batch.", GaugeMetricFamily, lambda s: s.running),
    ("num_requests_waiting", "Sequences that wait.", GaugeMetricFamily, lambda s: s.waiting),
    ("kv_cache_usage_perc", "Used share of the KV cache; 1 is full.", GaugeMetricFamily, _kv_usage),
    (
        "prefix_cache_queries",
        "Prompt tokens looked up in the prefix cache.",
        CounterMetricFamily,
        lambda s: s.prompt_tokens_total,
    ),
    (
        "prefix_cache_hits",
        "Prompt tokens found in the prefix cache.",
        CounterMetricFamily,
        lambda s: s.prefix_saved_tokens,
    ),
    (
        "prompt_tokens_cached",
        "Prompt tokens that were not computed.",
        CounterMetricFamily,
        lambda s: s.prefix_saved_tokens,
    ),
    ("num_preemptions", "Sequences put back.", CounterMetricFamily, lambda s: s.preemptions),
    ("prompt_tokens", "Prompt tokens.", CounterMetricFamily, lambda s: s.prompt_tokens_total),
    (
        "generation_tokens",
        "Generated tokens.",
        CounterMetricFamily,
        lambda s: s.completion_tokens_total,
    ),
    ("iterations", "Steps of the engine.", CounterMetricFamily, lambda s: s.steps_total),
)
