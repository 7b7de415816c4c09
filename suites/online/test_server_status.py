"""Health, readiness, metrics, statistics, models, tokens, the page, the document."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from stagegate.server.app import create_app
from stagegate.server.http.settings import ServerSettings
from stagegate.server.openai.responses import (
    DetokenizeAnswer,
    Model,
    ModelList,
    StatsAnswer,
    TokenizeAnswer,
)
from suites.online.conftest import MakeLLM
from suites.online.event_stream import error_of
from suites.online.live_server import MODEL, LiveServer, live_server

criteria = pytest.mark.criterion("s0.online", "s4.online")


@criteria
def test_healthy_and_ready(api: httpx.Client) -> None:
    for path in ("/health", "/ready"):
        response = api.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


@criteria
def test_a_dead_loop_fails_health_and_requests(make_llm: MakeLLM) -> None:
    with live_server(make_llm()) as running:
        running.llm.close()
        for path in ("/health", "/ready"):
            response = httpx.get(running.url + path)
            assert response.status_code == 503
            assert MODEL in error_of(response)["message"]
        response = httpx.post(f"{running.url}/v1/completions", json={"prompt": "x"})
        assert response.status_code == 503
        assert error_of(response)["code"] == "engine_dead"


def test_a_server_that_shuts_down_takes_no_work(make_llm: MakeLLM) -> None:
    with live_server(make_llm()) as running:
        running.app.state.serving.draining = True
        assert httpx.get(f"{running.url}/health").status_code == 200
        assert httpx.get(f"{running.url}/ready").status_code == 503
        response = httpx.post(f"{running.url}/v1/completions", json={"prompt": "x"})
        assert response.status_code == 503


def test_models(api: httpx.Client, server: LiveServer) -> None:
    [model] = ModelList.model_validate_json(api.get("/v1/models").content).data
    assert (model.id, model.max_model_len) == (MODEL, server.llm.engine.max_model_len)
    assert (model.root, model.parent) == (str(server.llm.engine.config.model), None)
    assert model.created == int(server.app.state.serving.started)
    # parent is there, as null, as clients of vLLM read it.
    assert api.get("/v1/models").json()["data"][0].keys() == Model.model_fields.keys()
    assert Model.model_validate_json(api.get(f"/v1/models/{MODEL}").content) == model
    missing = api.get("/v1/models/other/one")
    assert missing.status_code == 404
    assert error_of(missing)["code"] == "model_not_found"


def test_several_models_answer_by_name(make_llm: MakeLLM) -> None:
    async def statuses(app: FastAPI) -> tuple[list[tuple[int, Any]], str]:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://server"
            ) as client,
        ):
            found: list[tuple[int, Any]] = []
            for name in ("org/a", "b", "c", None):
                fields = {"prompt": "Alice was", "max_tokens": 1}
                named = fields if name is None else fields | {"model": name}
                response = await client.post("/v1/completions", json=named)
                body = response.json()
                found.append((response.status_code, body.get("model", body.get("error"))))
            model = (await client.get("/v1/models/org/a")).json()
            return found, str(model["id"])

    app = create_app({"org/a": make_llm(), "b": make_llm()}, ServerSettings())
    (first, second, unknown, unnamed), one = asyncio.run(statuses(app))
    assert [first, second] == [(200, "org/a"), (200, "b")]
    assert (unknown[0], unknown[1]["code"]) == (404, "model_not_found")
    assert (unnamed[0], unnamed[1]["param"]) == (400, "model")
    assert one == "org/a"


def test_tokenize_and_detokenize(api: httpx.Client, server: LiveServer) -> None:
    text = "Alice's cat é 🐱"
    response = api.post("/tokenize", json={"prompt": text, "return_token_strs": True})
    answer = TokenizeAnswer.model_validate_json(response.content)
    assert answer.tokens == server.llm.engine.tokenizer.encode(text)
    assert answer.count == len(answer.tokens)
    assert answer.token_strs is not None
    assert len(answer.token_strs) == answer.count
    back = api.post("/detokenize", json={"tokens": answer.tokens})
    assert DetokenizeAnswer.model_validate_json(back.content).prompt == text
    assert "token_strs" not in api.post("/tokenize", json={"prompt": text}).json()


def test_tokenize_messages_counts_what_chat_counts(api: httpx.Client) -> None:
    messages = [{"role": "user", "content": "Who wrote this book?"}]
    count = api.post("/tokenize", json={"messages": messages}).json()["count"]
    answer = api.post("/v1/chat/completions", json={"messages": messages, "max_tokens": 1})
    assert answer.json()["usage"]["prompt_tokens"] == count
    shorter = api.post("/tokenize", json={"messages": messages, "add_generation_prompt": False})
    assert shorter.json()["count"] < count


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/tokenize", {}),
        ("/tokenize", {"prompt": "x", "messages": [{"role": "user", "content": "x"}]}),
        ("/tokenize", {"prompt": "x", "add_generation_prompt": True}),
        ("/tokenize", {"messages": [{"role": "user", "content": "x"}], "add_special_tokens": True}),
        ("/detokenize", {"tokens": [-1]}),
        ("/detokenize", {"tokens": [1 << 40]}),
        ("/detokenize", {"tokens": ["a"]}),
    ],
)
def test_tokens_refused(api: httpx.Client, path: str, fields: dict[str, object]) -> None:
    response = api.post(path, json=fields)
    assert response.status_code == 400
    error_of(response)


def samples(api: httpx.Client) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    response = api.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(
    found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str
) -> float:
    return found.get((f"stagegate:{name}", frozenset(labels.items())), 0.0)


@criteria
def test_metrics_count_what_happens(api: httpx.Client, server: LiveServer) -> None:
    prompt_tokens = len(server.llm.engine.tokenizer.encode("Alice was"))
    before = samples(api)
    began = time.perf_counter()
    fields = {"prompt": "Alice was", "max_tokens": 7, "ignore_eos": True}
    api.post("/v1/completions", json=fields)
    seconds = time.perf_counter() - began
    api.post("/v1/completions", json={"prompt": 5})
    api.get("/made-up/path")
    after = samples(api)

    def gained(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert gained("generation_tokens_total", model_name=MODEL) == 7
    assert gained("prompt_tokens_total", model_name=MODEL) == prompt_tokens
    assert gained("request_success_total", model_name=MODEL, finished_reason="length") == 1
    for histogram in (
        "time_to_first_token_seconds", "e2e_request_latency_seconds", "request_prompt_tokens",
        "request_time_per_output_token_seconds", "request_generation_tokens",
    ):  # fmt: skip
        assert gained(f"{histogram}_count", model_name=MODEL) == 1
    assert gained("request_generation_tokens_sum", model_name=MODEL) == 7
    latency = gained("e2e_request_latency_seconds_sum", model_name=MODEL)
    assert 0 < gained("time_to_first_token_seconds_sum", model_name=MODEL) < latency < seconds
    for handler, method, status in (
        ("/v1/completions", "POST", "200"), ("/v1/completions", "POST", "400"),
        ("unmatched", "GET", "404"),
    ):  # fmt: skip
        count = gained("http_requests_total", handler=handler, method=method, status=status)
        assert count == 1
    for gauge in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"):
        assert value(after, gauge, model_name=MODEL) == 0
    assert not any("made-up" in str(key) for key in after)


def test_statistics_are_the_engines(api: httpx.Client, server: LiveServer) -> None:
    answer = StatsAnswer.model_validate_json(api.get("/v1/stats").content)
    assert answer.uptime_s > 0
    stats = server.llm.stats()
    assert answer.models[MODEL].kv_capacity_tokens == stats.kv_capacity_tokens
    assert answer.models[MODEL].steps_total == stats.steps_total


def test_the_page_comes_with_its_files(api: httpx.Client) -> None:
    page = api.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    part = api.get("/webui/index.html")
    assert part.text == page.text
    for response in (page, part):
        # No browser mixes parts of two versions, and nothing comes from elsewhere.
        assert response.headers["cache-control"] == "no-cache"
        policy = "default-src 'self'; frame-ancestors 'none'"
        assert response.headers["content-security-policy"] == policy
    known = {"If-None-Match": part.headers["etag"]}
    unchanged = api.get("/webui/index.html", headers=known)
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    missing = api.get("/webui/../settings.py")
    assert missing.status_code == 404
    error_of(missing)


def test_the_document_lists_every_status_a_route_may_answer(api: httpx.Client) -> None:
    document = api.get("/openapi.json").json()
    statuses = {
        path: set(operation["responses"])
        for path, operations in document["paths"].items()
        for operation in operations.values()
    }
    generating = {"200", "400", "401", "404", "408", "413", "429", "500", "503", "504"}
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses"):
        assert statuses[path] == generating
    assert all("422" not in listed for listed in statuses.values())
    assert statuses.keys() == {
        "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/responses/{response_id}",
        "/v1/models", "/v1/models/{name}",
        "/v1/requests/{request_id}/cancel", "/v1/stats",
        "/tokenize", "/detokenize", "/health", "/ready", "/metrics",
    }  # fmt: skip
