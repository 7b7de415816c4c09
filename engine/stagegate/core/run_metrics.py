"""What a run of the engine did, in the terms every benchmark and report uses."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stagegate.kv.manager import KVStats
    from stagegate.outputs import RequestOutput


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """Totals and means over one run. Latencies in milliseconds, measured inside the engine.

    ttft: from arrival to the first token. tpot: mean time per token after the first.
    """

    requests: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    tokens_per_sec: float
    avg_req_latency_ms: float
    avg_ttft_ms: float
    avg_tpot_ms: float | None
    prefix_hits: int
    prefix_misses: int
    prefix_saved_tokens: int

    def as_dict(self) -> dict[str, int | float | None]:
        return asdict(self)


def summarize(
    outputs: Sequence[RequestOutput], seconds: float, before: KVStats, after: KVStats
) -> RunMetrics:
    """Metrics of finished requests that ran for `seconds`, between two KV readings."""
    completion_tokens = sum(output.usage.completion_tokens for output in outputs)
    tpots = [tpot for output in outputs if (tpot := output.timings.tpot_ms) is not None]
    ttfts = [ttft for output in outputs if (ttft := output.timings.ttft_ms) is not None]
    latencies = [e2e for output in outputs if (e2e := output.timings.e2e_ms) is not None]
    return RunMetrics(
        requests=len(outputs),
        prompt_tokens=sum(output.usage.prompt_tokens for output in outputs),
        completion_tokens=completion_tokens,
        seconds=seconds,
        tokens_per_sec=completion_tokens / seconds,
        avg_req_latency_ms=fmean(latencies) if latencies else 0.0,
        avg_ttft_ms=fmean(ttfts) if ttfts else 0.0,
        avg_tpot_ms=fmean(tpots) if tpots else None,
        prefix_hits=after.prefix_hits - before.prefix_hits,
        prefix_misses=after.prefix_misses - before.prefix_misses,
        prefix_saved_tokens=after.prefix_saved_tokens - before.prefix_saved_tokens,
    )
