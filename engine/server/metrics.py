"""Metrics for Prometheus: names and meanings of vLLM, with our prefix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.server.faults import ERROR_STATUS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from engine.async_llm import EngineStats
    from engine.outputs import RequestDelta
    from engine.server.models import ServedModel

_SECONDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
_TOKENS: Final = tuple(float(1 << power) for power in range(18))
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Histograms of finished requests, counts of responses, and the engines' own numbers."""

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_EngineCollector(models))
        self._ttft = self._histogram("time_to_first_token_seconds", "Arrival to first token.")
        self._tpot = self._histogram(
            "request_time_per_output_token_seconds", "Mean time per token after the first."
        )
        self._e2e = self._histogram("e2e_request_latency_seconds", "Arrival to last token.")
        self._prompt_tokens = self._histogram(
            "request_prompt_tokens", "Prompt tokens of a request.", _TOKENS
        )
        self._generation_tokens = self._histogram(
            "request_generation_tokens", "Generated tokens of a request.", _TOKENS
        )
        self._responses = Counter(
            "stagegate:http_requests",
            "HTTP responses.",
            ("method", "handler", "status"),
            registry=self._registry,
        )

    def observe(self, model: str, delta: RequestDelta) -> None:
        """Take the last delta of a request."""
        timings = delta.timings
        for histogram, milliseconds in (
            (self._ttft, timings.ttft_ms),
            (self._tpot, timings.tpot_ms),
            (self._e2e, timings.e2e_ms),
        ):
            if milliseconds is not None:
                histogram.labels(model).observe(milliseconds / 1e3)
        self._prompt_tokens.labels(model).observe(delta.usage.prompt_tokens)
        self._generation_tokens.labels(model).observe(delta.usage.completion_tokens)

    def count_response(self, method: str, handler: str, status: int) -> None:
        method = method if method in _METHODS else "other"
        self._responses.labels(method, handler, str(status)).inc()

    def exposition(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self._registry)

    def _histogram(
        self, name: str, documentation: str, buckets: tuple[float, ...] = _SECONDS
    ) -> Histogram:
        return Histogram(
            f"stagegate:{name}",
            documentation,
            ("model_name",),
            buckets=buckets,
            registry=self._registry,
        )


class CountResponses:
    """ASGI middleware: counts responses by route and status, when they end.

    A stream that failed after its headers counts with the status of its error.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | None = None  # of a response that is not counted yet

        def count() -> None:
            nonlocal status
            if status is not None:
                # The pattern of the route: paths are made up by clients, and would never end.
                handler = getattr(scope.get("route"), "path", "unmatched")
                status = scope.get(ERROR_STATUS, status)
                self._metrics.count_response(scope["method"], handler, status)
            status = None

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not message.get("more_body", False):
                count()  # before the client can know
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            count()  # what broke off


class _EngineCollector(Collector):
    """Reads the engines when Prometheus asks."""

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self._models = models

    def collect(self) -> Iterable[Metric]:
        stats = {name: model.llm.stats() for name, model in self._models.items()}
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


def _kv_usage(stats: EngineStats) -> float:
    return stats.kv_used_tokens / stats.kv_capacity_tokens


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
