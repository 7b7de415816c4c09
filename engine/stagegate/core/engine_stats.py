"""What an engine has done and holds, as counters and gauges."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stagegate.core.histogram import Histogram

if TYPE_CHECKING:
    from stagegate.core.histogram import HistogramReading
    from stagegate.core.llm_engine import LLMEngine
    from stagegate.core.request import Request
    from stagegate.outputs import RequestDelta

_LATENCY_SECONDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1),
    *(0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 40.0, 80.0),
)
_STEP_TOKENS: Final = (1, 8, *(1 << power for power in range(4, 15)))


@dataclass(frozen=True, slots=True)
class EngineStats:
    """One reading. running and waiting count sequences; names ending in _total only grow.

    prefix_*, preemptions: as in KVStats, since the start. prompt_tokens_total: of prompts that got
    a token. requests_total: requests that ended, by reason: error, abort or length when any
    sequence of theirs did, the first that applies, else stop.
    """

    running: int
    waiting: int
    kv_used_tokens: int
    kv_capacity_tokens: int
    prefix_hits: int
    prefix_misses: int
    prefix_saved_tokens: int
    preemptions: int
    prompt_tokens_total: int
    completion_tokens_total: int
    steps_total: int
    requests_total: dict[str, int]


@dataclass(frozen=True, slots=True)
class EngineHistograms:
    """inter_token_seconds: between two tokens of a sequence. step_tokens: of a step, those it
    generated and the prompts that it completed."""

    inter_token_seconds: HistogramReading
    step_tokens: HistogramReading


class EngineCounters:
    """Counts for one engine; the thread that steps the engine owns it, any may read histograms."""

    def __init__(self) -> None:
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._steps = 0
        self._requests: Counter[str] = Counter(stop=0, length=0, abort=0, error=0)
        self._inter_token = Histogram(_LATENCY_SECONDS)
        self._step_tokens = Histogram(_STEP_TOKENS)
        # Since `end_deltas`: tokens, and how many deltas brought so many tokens to a sequence
        # whose last came at that time. Sequences that run together share the time.
        self._tokens = 0
        self._gaps: Counter[tuple[float, int]] = Counter()

    def count_step(self) -> None:
        self._steps += 1

    def count_delta(self, request: Request, delta: RequestDelta, now: float) -> None:
        """now: a reading of time.perf_counter, the same for the deltas of a step."""
        gained = 0
        for part in delta.choices:
            tokens = len(part.token_ids)
            if tokens:
                gained += tokens
                choice = request.choices[part.index]
                if choice.counted_at is not None:
                    self._gaps[choice.counted_at, tokens] += 1
                choice.counted_at = now
        if 0 < gained == delta.usage.completion_tokens:  # the first tokens of the request
            self._prompt_tokens += delta.usage.prompt_tokens
            self._tokens += delta.usage.prompt_tokens
        self._completion_tokens += gained
        self._tokens += gained
        if delta.finished:
            reasons = {choice.finish_reason for choice in request.choices}
            worst = next((r for r in ("error", "abort", "length") if r in reasons), "stop")
            self._requests[worst] += 1

    def end_deltas(self, now: float) -> None:
        """The deltas of a step have been counted."""
        for (before, tokens), deltas in self._gaps.items():
            self._inter_token.observe((now - before) / tokens, tokens * deltas)
        if self._tokens:
            self._step_tokens.observe(self._tokens)
        self._gaps.clear()
        self._tokens = 0

    def histograms(self) -> EngineHistograms:
        return EngineHistograms(self._inter_token.read(), self._step_tokens.read())

    def read(self, engine: LLMEngine) -> EngineStats:
        kv = engine.kv_stats()
        return EngineStats(
            running=engine.num_running,
            waiting=engine.num_waiting,
            kv_used_tokens=kv.used,
            kv_capacity_tokens=kv.capacity,
            prefix_hits=kv.prefix_hits,
            prefix_misses=kv.prefix_misses,
            prefix_saved_tokens=kv.prefix_saved_tokens,
            preemptions=engine.num_preemptions,
            prompt_tokens_total=self._prompt_tokens,
            completion_tokens_total=self._completion_tokens,
            steps_total=self._steps,
            requests_total=dict(self._requests),
        )
