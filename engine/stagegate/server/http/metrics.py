"""Metrics for Prometheus, with vLLM's names and meanings and our prefix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from stagegate.server.http.engine_collector import EngineCollector
from stagegate.server.http.faults import ERROR_STATUS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from stagegate.outputs import RequestDelta, RequestTimings
    from stagegate.sampling import SamplingParams
    from stagegate.server.http.models import ServedModel

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
_TOKENS: Final = tuple(float(1 << power) for power in range(18))
_CHOICES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def _seconds(name: str) -> Callable[[RequestDelta, SamplingParams], float | None]:
    def read(delta: RequestDelta, params: SamplingParams) -> float | None:
        milliseconds: float | None = getattr(_timings(delta), name)
        return None if milliseconds is None else milliseconds / 1e3

    return read


def _timings(delta: RequestDelta) -> RequestTimings:
    assert delta.timings is not None, "metrics are of requests that have ended"
    return delta.timings


# Per finished request; None means unknown.
_REQUEST_HISTOGRAMS: Final = (
    ("time_to_first_token_seconds", "Arrival to first token.", _SECONDS, _seconds("ttft_ms")),
    (
        "request_time_per_output_token_seconds",
        "Mean time per token after the first.",
        _SECONDS,
        _seconds("tpot_ms"),
    ),
    ("e2e_request_latency_seconds", "Arrival to last token.", _SECONDS, _seconds("e2e_ms")),
    ("request_queue_time_seconds", "Arrival to being scheduled.", _SECONDS, _seconds("queue_ms")),
    ("request_prefill_time_seconds", "Scheduled to first token.", _SECONDS, _seconds("prefill_ms")),
    ("request_decode_time_seconds", "First to last token.", _SECONDS, _seconds("decode_ms")),
    (
        "request_inference_time_seconds",
        "Scheduled to last token.",
        _SECONDS,
        _seconds("inference_ms"),
    ),
    (
        "request_prompt_tokens",
        "Prompt tokens of a request.",
        _TOKENS,
        lambda delta, params: delta.usage.prompt_tokens,
    ),
    (
        "request_prefill_kv_computed_tokens",
        "Prompt tokens of a request that the prefix cache did not have.",
        _TOKENS,
        lambda delta, params: delta.usage.prompt_tokens - delta.usage.cached_tokens,
    ),
    (
        "request_generation_tokens",
        "Generated tokens of a request.",
        _TOKENS,
        lambda delta, params: delta.usage.completion_tokens,
    ),
    (
        "request_max_num_generation_tokens",
        "Generated tokens of the longest choice of a request.",
        _TOKENS,
        lambda delta, params: _timings(delta).decode_tokens + 1,
    ),
    ("request_params_n", "Choices of a request.", _CHOICES, lambda delta, params: params.n),
    (
        "request_params_max_tokens",
        "max_tokens of a request, where there is one.",
        _TOKENS,
        lambda delta, params: params.max_tokens,
    ),
)


class Metrics:
    """Histograms of finished requests, counts of responses, and the engines' statistics."""

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(EngineCollector(models))
        histograms = [
            (
                Histogram(
                    f"stagegate:{name}",
                    documentation,
                    ("model_name",),
                    buckets=buckets,
                    registry=self._registry,
                ),
                read,
            )
            for name, documentation, buckets, read in _REQUEST_HISTOGRAMS
        ]
        # Labels are looked up once; all are listed, with zeros, before the first request.
        self._of_model = {
            model: [(histogram.labels(model), read) for histogram, read in histograms]
            for model in models
        }
        self._responses = Counter(
            "stagegate:http_requests",
            "HTTP responses.",
            ("method", "handler", "status"),
            registry=self._registry,
        )

    def observe(self, model: str, delta: RequestDelta, params: SamplingParams) -> None:
        """Record the last delta of a request."""
        for histogram, read in self._of_model[model]:
            value = read(delta, params)
            if value is not None:
                histogram.observe(value)

    def count_response(self, method: str, handler: str, status: int) -> None:
        method = method if method in _METHODS else "other"
        self._responses.labels(method, handler, str(status)).inc()

    def exposition(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self._registry)


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
