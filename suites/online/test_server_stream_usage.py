"""The usage in a stream: at its end, in every chunk, or not at all."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from suites.online.event_stream import error_of, payloads_of

# About the server, not about what a checkpoint answers: a large one takes minutes to.
pytestmark = [pytest.mark.criterion("s0.online", "s4.online"), pytest.mark.tiny_model]

PATHS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Alice"}]}),
    ("/v1/completions", {"prompt": "Alice was"}),
    ("/v1/completions", {"prompt": ["Alice was", "Oh dear"]}),
    ("/v1/completions", {"prompt": "Alice was", "logprobs": 1, "echo": True}),
    ("/v1/chat/completions",
     {"messages": [{"role": "user", "content": "Alice"}], "n": 2, "separate_reasoning": True}),
]  # fmt: skip


def chunks_of(api: httpx.Client, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    fields = {"stream": True, "max_tokens": 24, "ignore_eos": True} | body
    with api.stream("POST", path, json=fields) as response:
        assert response.status_code == 200
        *payloads, done = payloads_of(response)
    assert done == "[DONE]"
    return [json.loads(payload) for payload in payloads]


@pytest.mark.parametrize(("path", "body"), PATHS)
def test_every_chunk_has_the_usage_so_far(
    api: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = chunks_of(api, path, body | {"stream_options": options})
    usages = [chunk["usage"] for chunk in chunks]
    prompts = body.get("prompt", "one")
    most = 24 * body.get("n", 1) * (len(prompts) if isinstance(prompts, list) else 1)
    counts = [usage["completion_tokens"] for usage in usages]
    assert counts == sorted(counts)
    assert 1 <= counts[0] < counts[-1] == most
    assert len(set(counts)) > 2
    for usage in usages:
        assert usage["prompt_tokens"] >= 1
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert chunks[-1]["choices"] == []
    assert usages[-1] == usages[-2]
    assert all(chunk["choices"] for chunk in chunks[:-1])


def test_prompt_logprobs_alone_count_no_completion_tokens(api: httpx.Client) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    fields = {"prompt": "Alice was", "echo": True, "max_tokens": 0, "stream_options": options}
    usages = [chunk["usage"] for chunk in chunks_of(api, "/v1/completions", fields)]
    assert {usage["completion_tokens"] for usage in usages} == {0}


@pytest.mark.parametrize(("path", "body"), PATHS)
@pytest.mark.parametrize("options", [
    None, {}, {"include_usage": False}, {"continuous_usage_stats": True},
    {"include_usage": False, "continuous_usage_stats": True},
    {"include_usage": None, "continuous_usage_stats": None}, {"include_obfuscation": True},
])  # fmt: skip
def test_without_include_usage_no_chunk_has_one(
    api: httpx.Client, path: str, body: dict[str, Any], options: dict[str, Any] | None
) -> None:
    chunks = chunks_of(api, path, body | {"stream_options": options})
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)


@pytest.mark.parametrize(("path", "body"), PATHS)
def test_the_usage_at_the_end_alone(api: httpx.Client, path: str, body: dict[str, Any]) -> None:
    for more in ({}, {"continuous_usage_stats": False}):
        options = {"include_usage": True} | more
        *chunks, last = chunks_of(api, path, body | {"stream_options": options})
        assert all(chunk["usage"] is None for chunk in chunks)
        assert last["usage"]["completion_tokens"] >= 24


def test_the_options_have_types_and_need_a_stream(api: httpx.Client) -> None:
    path, body = PATHS[1]
    wrong = {"stream": True, "stream_options": {"continuous_usage_stats": 1}}
    error = error_of(api.post(path, json=body | wrong))
    assert error["param"] == "stream_options.continuous_usage_stats"
    plain = {"stream_options": {"continuous_usage_stats": True}}
    assert error_of(api.post(path, json=body | plain))["param"] == "stream_options"
