"""What the engine's benchmarks report."""

from __future__ import annotations

from dataclasses import replace

from stagegate_baselines.kinds import Kind
from stagegate_baselines.records import Better, MetricClass

_LATENCY = Kind("ms", Better.LOWER, MetricClass.LATENCY_P50)
_RATE = Kind("tok/s", Better.HIGHER, MetricClass.THROUGHPUT)
_SHOWN_LATENCY = Kind("ms", Better.LOWER, MetricClass.INFO)
_TAIL = Kind("ms", Better.LOWER, MetricClass.LATENCY_P99)
_MEMORY = Kind("bytes", Better.LOWER, MetricClass.MEMORY)
_COUNT = Kind("1", Better.HIGHER, MetricClass.INFO)

KINDS = {
    "requests": _COUNT,
    "prompt_tokens": _COUNT,
    "completion_tokens": _COUNT,
    "tokens_per_sec": _RATE,
    "avg_req_latency_ms": _LATENCY,
    "avg_ttft_ms": _LATENCY,
    "avg_tpot_ms": _LATENCY,
    "prefix_hits": _COUNT,
    "prefix_misses": Kind("1", Better.LOWER, MetricClass.INFO),
    "prefix_saved_tokens": _COUNT,
    "tokens_per_cpu_sec": replace(_RATE, of_cpu=True),
    "ttft_p50_ms": _LATENCY,
    "ttft_p90_ms": _SHOWN_LATENCY,
    "ttft_p99_ms": _TAIL,
    "tpot_p50_ms": _LATENCY,
    "tpot_p90_ms": _SHOWN_LATENCY,
    "tpot_p99_ms": _SHOWN_LATENCY,  # a stall between two tokens shows in itl_p99_ms
    "itl_p50_ms": _SHOWN_LATENCY,  # tpot_p50_ms says the same
    "itl_p90_ms": _SHOWN_LATENCY,
    "itl_p99_ms": _TAIL,
    "itl_samples": _COUNT,
    "e2e_p50_ms": _SHOWN_LATENCY,  # the sum of TTFT and the tokens after it
    "e2e_p90_ms": _SHOWN_LATENCY,
    "e2e_p99_ms": _TAIL,
    "goodput_per_s": Kind("req/s", Better.HIGHER, MetricClass.THROUGHPUT),
    "requests_per_s": Kind("req/s", Better.HIGHER, MetricClass.INFO),
    "intended_rate": Kind("req/s", Better.HIGHER, MetricClass.INFO),
    "achieved_rate": Kind("req/s", Better.HIGHER, MetricClass.INFO),
    "sent_late_p99_ms": _SHOWN_LATENCY,
    "client_cpu": Kind("1", Better.LOWER, MetricClass.INFO),
    "failed_requests": Kind("1", Better.LOWER, MetricClass.INFO),
    "cached_tokens": _COUNT,
    "added_ttft_p50_ms": _LATENCY,
    "prefill_tok_s": _RATE,
    "ttft_ms": _LATENCY,
    "tpot_ms": _SHOWN_LATENCY,  # the rate says the same
    "startup_s": Kind("s", Better.LOWER, MetricClass.LATENCY_P50),
    "weights_bytes": _MEMORY,
    "kv_cache_bytes": _MEMORY,
    "workspace_bytes": _MEMORY,
    "peak_bytes": _MEMORY,
    "kv_bytes": Kind("bytes", Better.LOWER, MetricClass.INFO),  # of the work, not of the engine
}
