"""A model that computes NaN: an explicit error, before or after the first token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from suites.models.random_qwen2 import Dimensions, write_nan, write_random_qwen2
from suites.online.conftest import MakeLLM
from suites.online.event_stream import error_of, payloads_of
from suites.online.live_server import LiveServer, live_server

BROKEN = 300  # behind this token all logits are NaN
MESSAGE = "has a logit of NaN for token"
LOGPROBS = [{}, {"logprobs": 0}, {"logprobs": 3}]


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dimensions = Dimensions(vocab_size=2048, tie_word_embeddings=False)
    folder = tmp_path_factory.mktemp("models") / "broken"
    write_random_qwen2(folder, dimensions, dtype="f32")
    write_nan(folder, "model.embed_tokens.weight", BROKEN)
    return folder


@pytest.fixture(scope="module")
def server(make_llm: MakeLLM) -> Iterator[LiveServer]:
    with live_server(make_llm()) as running:
        yield running


def check_error(error: dict[str, Any], log: pytest.LogCaptureFixture) -> None:
    assert MESSAGE in error["message"]
    assert (error["type"], error["code"]) == ("server_error", "engine_error")
    assert MESSAGE in log.text


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("logprobs", LOGPROBS)
def test_nan_in_the_prompt_has_its_own_status(
    api: httpx.Client,
    caplog: pytest.LogCaptureFixture,
    logprobs: dict[str, Any],
    stream: bool,
    echo: bool,
) -> None:
    body = {"prompt": [1, BROKEN, 3], "stream": stream, "echo": echo} | logprobs
    response = api.post("/v1/completions", json=body)
    assert response.status_code == 500
    check_error(error_of(response), caplog)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("logprobs", LOGPROBS)
def test_nan_after_the_first_token_ends_the_answer(
    api: httpx.Client, caplog: pytest.LogCaptureFixture, logprobs: dict[str, Any], stream: bool
) -> None:
    """The token is sampled because of its bias."""
    body = {"prompt": [1, 2], "logit_bias": {str(BROKEN): 100}, "temperature": 0, "stream": stream}
    response = api.post("/v1/completions", json=body | logprobs)
    if stream and response.status_code == 200:  # the first token may have come before the error
        *_, last = payloads_of(response)
        error = json.loads(last)["error"]
    else:
        assert response.status_code == 500
        error = error_of(response)
    check_error(error, caplog)
