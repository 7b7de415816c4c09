"""The results of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from suites.online.load.arrival import OpenLoop
from suites.online.load.load_run import LoadRun
from suites.online.load.objective import Objective
from suites.online.load.request_result import RequestResult

_BUSY_CLIENT = 0.8  # of a core


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of count samples, linear between the two nearest; None where there are none."""

    count: int
    p50: float | None
    p90: float | None
    p99: float | None

    @classmethod
    def of(cls, samples: Iterable[float | None]) -> Percentiles:
        known = [sample for sample in samples if sample is not None]
        if not known:
            return cls(0, None, None, None)
        return cls(len(known), *(float(value) for value in np.percentile(known, (50, 90, 99))))


@dataclass(frozen=True, slots=True)
class LoadReport:
    """Latencies in milliseconds, of completed requests alone. docs/load.md says what each means.

    failures: how many of each kind; messages: one of each kind. sent_late_ms: actual after
    intended start, of every request. by_chunks: completed requests without usage, whose tokens are
    counted by chunks. asked_rate, intended_rate, achieved_rate: of an open loop, by its settings,
    by the schedule drawn and as it was sent. goodput_per_s, good: requests that met the objective;
    None without one.
    """

    planned: int
    completed: int
    failures: dict[str, int]
    messages: dict[str, str]
    not_sent: int
    duration_s: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    by_chunks: int
    ttft_ms: Percentiles
    tpot_ms: Percentiles
    itl_ms: Percentiles
    e2e_ms: Percentiles
    sent_late_ms: Percentiles
    tokens_per_s: float | None
    requests_per_s: float | None
    good: int | None
    goodput_per_s: float | None
    asked_rate: float | None
    intended_rate: float | None
    achieved_rate: float | None
    client_cpu: float

    def metrics(self) -> dict[str, float | int | None]:
        """What a benchmark records, by the names of stagegate_harness.metrics."""
        measured: dict[str, float | int | None] = {
            "requests": self.completed,
            "failed_requests": self.failed + self.not_sent,
            "seconds": self.duration_s,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
            "tokens_per_sec": self.tokens_per_s,
            "requests_per_s": self.requests_per_s,
            "itl_samples": self.itl_ms.count,
            "sent_late_p99_ms": self.sent_late_ms.p99,
            "client_cpu": self.client_cpu,
        }
        for name in ("ttft", "tpot", "itl", "e2e"):
            percentiles: Percentiles = getattr(self, f"{name}_ms")
            for at in ("p50", "p90", "p99"):
                measured[f"{name}_{at}_ms"] = getattr(percentiles, at)
        if self.goodput_per_s is not None:
            measured["goodput_per_s"] = self.goodput_per_s
        if self.intended_rate is not None:
            measured |= {"intended_rate": self.intended_rate, "achieved_rate": self.achieved_rate}
        return measured

    @property
    def is_client_busy(self) -> bool:
        """Whether the client's own delays are part of the measurement."""
        return self.client_cpu > _BUSY_CLIENT

    @property
    def failed(self) -> int:
        return sum(self.failures.values())


def report_of(run: LoadRun, objective: Objective | None = None) -> LoadReport:
    done = [result for result in run.results if result.failure is None]
    failed = [result for result in run.results if result.failure is not None]
    tokens = sum(result.output_tokens for result in done)
    good = None if objective is None else sum(map(objective.is_met, run.results))
    first = [result for result in run.results if result.turn == 0]
    arrival = run.arrival if isinstance(run.arrival, OpenLoop) else None
    return LoadReport(
        planned=run.planned,
        completed=len(done),
        failures=dict(Counter(str(result.failure) for result in failed)),
        messages={str(result.failure): result.message for result in reversed(failed)},
        not_sent=run.planned - len(run.results),
        duration_s=run.duration_s,
        prompt_tokens=sum(result.prompt_tokens or 0 for result in done),
        cached_tokens=sum(result.cached_tokens or 0 for result in done),
        completion_tokens=tokens,
        by_chunks=sum(result.completion_tokens is None for result in done),
        ttft_ms=Percentiles.of(result.ttft_ms for result in done),
        tpot_ms=Percentiles.of(result.tpot_ms for result in done),
        itl_ms=Percentiles.of(gap for result in done for gap in result.itl_ms),
        e2e_ms=Percentiles.of(result.e2e_ms for result in done),
        sent_late_ms=Percentiles.of(_late_ms(result) for result in run.results),
        tokens_per_s=_rate(tokens, run.duration_s),
        requests_per_s=_rate(len(done), run.duration_s),
        good=good,
        goodput_per_s=None if good is None else _rate(good, run.duration_s),
        asked_rate=None if arrival is None else arrival.rate,
        intended_rate=None if arrival is None else arrival.rate_of([one.intended for one in first]),
        achieved_rate=None if arrival is None else arrival.rate_of([one.started for one in first]),
        client_cpu=run.client_cpu,
    )


def _late_ms(result: RequestResult) -> float:
    return 1e3 * (result.started - result.intended)


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if seconds > 0 else None
