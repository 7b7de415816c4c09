"""What an engine has done and holds, as counters and gauges."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.llm_engine import LLMEngine
    from engine.outputs import RequestDelta
    from engine.request import Request


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


class EngineCounters:
    """Counts for one engine; the thread that steps the engine owns it."""

    def __init__(self) -> None:
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._steps = 0
        self._requests: Counter[str] = Counter(stop=0, length=0, abort=0, error=0)

    def count_step(self) -> None:
        self._steps += 1

    def count_delta(self, request: Request, delta: RequestDelta) -> None:
        gained = sum(len(choice.token_ids) for choice in delta.choices)
        if 0 < gained == delta.usage.completion_tokens:  # the first tokens of the request
            self._prompt_tokens += delta.usage.prompt_tokens
        self._completion_tokens += gained
        if delta.finished:
            reasons = {choice.finish_reason for choice in request.choices}
            worst = next((r for r in ("error", "abort", "length") if r in reasons), "stop")
            self._requests[worst] += 1

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
