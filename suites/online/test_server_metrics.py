"""The metrics that vLLM's Grafana dashboards query, and their values for known requests."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stagegate import EngineConfig, build_engine
from stagegate.async_llm import AsyncLLM
from stagegate.server.app import create_app
from stagegate.server.http.settings import ServerSettings
from stagegate.text.tokenizer import Tokenizer
from suites.engine.fake_executor import FakeExecutor, any_of

pytestmark = pytest.mark.criterion("s0.online", "s4.online")

STEP = 0.02  # seconds

# By name behind the prefix, as the dashboards have them without _bucket, _sum and _count.
DASHBOARD_METRICS = {
    "e2e_request_latency_seconds": "histogram",
    "inter_token_latency_seconds": "histogram",
    "iteration_tokens_total": "histogram",
    "request_decode_time_seconds": "histogram",
    "request_generation_tokens": "histogram",
    "request_inference_time_seconds": "histogram",
    "request_max_num_generation_tokens": "histogram",
    "request_params_max_tokens": "histogram",
    "request_params_n": "histogram",
    "request_prefill_kv_computed_tokens": "histogram",
    "request_prefill_time_seconds": "histogram",
    "request_prompt_tokens": "histogram",
    "request_queue_time_seconds": "histogram",
    "request_time_per_output_token_seconds": "histogram",
    "time_to_first_token_seconds": "histogram",
    "kv_cache_usage_perc": "gauge",
    "num_requests_running": "gauge",
    "num_requests_waiting": "gauge",
    "generation_tokens_total": "counter",
    "num_preemptions_total": "counter",
    "prefix_cache_hits_total": "counter",
    "prefix_cache_queries_total": "counter",
    "prompt_tokens_cached_total": "counter",
    "prompt_tokens_total": "counter",
    "request_success_total": "counter",
}
Samples = dict[str, float]


def metrics_after(
    model_path: Path, *bodies: dict[str, Any], max_num_seqs: int = 8
) -> tuple[dict[str, str], dict[str, Samples]]:
    """Types by name, and samples of each model by name, when the requests, sent at once, are done.

    A step takes STEP seconds.
    """
    config = EngineConfig(model=model_path, kv_capacity_tokens=4096, max_num_seqs=max_num_seqs)
    words = Tokenizer.load(model_path).encode(" the")
    engine = build_engine(config, executor=FakeExecutor(any_of(words), step_seconds=STEP))
    app = create_app({"used": AsyncLLM(engine)}, ServerSettings())

    async def exposition() -> str:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://s") as client,
        ):
            answers = await asyncio.gather(
                *(client.post("/v1/completions", json=body) for body in bodies)
            )
            assert [answer.status_code for answer in answers] == [200] * len(bodies)
            return (await client.get("/metrics")).text

    types: dict[str, str] = {}
    samples: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(asyncio.run(exposition())):
        types |= {sample.name: family.type for sample in family.samples}
        types[family.name] = family.type
        for sample in family.samples:
            if "model_name" in sample.labels:
                labels = {k: v for k, v in sample.labels.items() if k != "model_name"}
                name = sample.name + "".join(f",{key}={value}" for key, value in labels.items())
                samples.setdefault(sample.labels["model_name"], {})[name] = sample.value
    return types, samples


def request(max_tokens: int, **fields: Any) -> dict[str, Any]:
    return {"prompt": "Alice was", "max_tokens": max_tokens, "ignore_eos": True} | fields


def test_every_metric_of_the_dashboards_is_there_from_the_start(model_path: Path) -> None:
    types, samples = metrics_after(model_path)
    for name, kind in DASHBOARD_METRICS.items():
        assert types[f"stagegate:{name}"] == kind
        parts = ["_bucket,le=+Inf", "_sum", "_count"] if kind == "histogram" else [""]
        for part in parts:
            found = [key for key in samples["used"] if key.startswith(f"stagegate:{name}{part}")]
            assert found, name + part
            assert all(samples["used"][key] == 0 for key in found)


def test_the_times_of_a_request_add_up(model_path: Path) -> None:
    _, samples = metrics_after(model_path, request(6))
    used = samples["used"]

    def total(name: str) -> float:
        assert used[f"stagegate:{name}_count"] == 1
        return used[f"stagegate:{name}_sum"]

    queue, prefill = total("request_queue_time_seconds"), total("request_prefill_time_seconds")
    decode, whole = total("request_decode_time_seconds"), total("e2e_request_latency_seconds")
    assert prefill >= STEP
    assert decode >= 5 * STEP
    assert 0 <= queue < 1
    assert queue + prefill == pytest.approx(total("time_to_first_token_seconds"))
    assert prefill + decode == pytest.approx(total("request_inference_time_seconds"))
    assert queue + prefill + decode == pytest.approx(whole)
    mean = total("request_time_per_output_token_seconds")
    assert mean == pytest.approx(decode / 5)
    # Taken when the tokens are published, a moment after they were counted.
    assert used["stagegate:inter_token_latency_seconds_count"] == 5
    between = used["stagegate:inter_token_latency_seconds_sum"]
    assert between == pytest.approx(decode, abs=2 * STEP)
    assert used["stagegate:inter_token_latency_seconds_bucket,le=0.01"] == 0
    assert used["stagegate:inter_token_latency_seconds_bucket,le=+Inf"] == 5


def test_who_waits_has_a_queue_time(model_path: Path) -> None:
    _, samples = metrics_after(model_path, request(5), request(5), max_num_seqs=1)
    used = samples["used"]
    assert used["stagegate:request_queue_time_seconds_count"] == 2
    # One of them waited for the five steps of the other, which may have begun before it came.
    queue = used["stagegate:request_queue_time_seconds_sum"]
    assert queue > 4 * STEP
    assert queue + used["stagegate:request_inference_time_seconds_sum"] == pytest.approx(
        used["stagegate:e2e_request_latency_seconds_sum"]
    )


def test_the_sizes_of_requests(model_path: Path) -> None:
    three = request(4, n=3)
    other = request(9, prompt="Alice was beginning to get very tired of sitting by her sister")
    _, samples = metrics_after(model_path, three, other)
    used = samples["used"]
    prompts = [len(Tokenizer.load(model_path).encode(body["prompt"])) for body in (three, other)]
    for name, sizes in (
        ("request_prompt_tokens", prompts),
        ("request_generation_tokens", [12, 9]),
        ("request_max_num_generation_tokens", [4, 9]),
        ("request_params_n", [3, 1]),
        ("request_params_max_tokens", [4, 9]),
    ):
        assert used[f"stagegate:{name}_count"] == 2
        assert used[f"stagegate:{name}_sum"] == sum(sizes)
        for bound in (1, 2):
            below = sum(size <= bound for size in sizes)
            assert used[f"stagegate:{name}_bucket,le={float(bound)}"] == below
    assert used["stagegate:inter_token_latency_seconds_count"] == 3 * 3 + 8
    assert used["stagegate:iteration_tokens_total_sum"] == sum(prompts) + 12 + 9
    assert used["stagegate:request_success_total,finished_reason=length"] == 2


def test_cached_prompt_tokens_are_not_computed(model_path: Path) -> None:
    long = request(1, prompt="Alice was beginning to get very tired of sitting " * 20)
    prompt = len(Tokenizer.load(model_path).encode(long["prompt"]))
    _, samples = metrics_after(model_path, long, long, max_num_seqs=1)
    used = samples["used"]
    computed = used["stagegate:request_prefill_kv_computed_tokens_sum"]
    cached = used["stagegate:prompt_tokens_cached_total"]
    assert 0 < cached < prompt
    assert computed == 2 * prompt - cached


def test_a_request_that_is_cut_off_while_it_waits_has_no_times(model_path: Path) -> None:
    config = EngineConfig(model=model_path, kv_capacity_tokens=4096)
    engine = build_engine(config, executor=FakeExecutor(any_of([5])))
    request_id = engine.add_request("Alice", engine.default_sampling_params(max_tokens=3))
    ended = engine.abort_request(request_id)
    assert ended is not None
    timings = ended.output().timings
    assert timings.e2e_ms is not None
    assert (timings.queue_ms, timings.prefill_ms, timings.decode_ms, timings.inference_ms) == (
        None, None, None, None,
    )  # fmt: skip
