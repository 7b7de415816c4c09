"""Default fields of clients are accepted if they change nothing, and refused if they would."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from stagegate.server.openai.protocol import ChatCompletionRequest, CompletionRequest
from suites.online.event_stream import error_of

# About the server, not about what a checkpoint answers: a large one takes minutes to.
pytestmark = [pytest.mark.criterion("s0.online", "s4.online"), pytest.mark.tiny_model]

CHAT = ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Alice"}]})
TEXT = ("/v1/completions", {"prompt": "Alice was"})
GREEDY = {"temperature": 0, "max_tokens": 4}

BOTH: list[tuple[str, list[Any], list[Any]]] = [
    ("best_of", [1, None], [2, 0, 1.5]),
    ("service_tier", ["auto", "default", None], ["flex", "priority", 1]),
    ("store", [False, None], [True]),
    ("user", ["u-1", None], [5]),
    ("safety_identifier", ["u-1", None], [5]),
    ("prompt_cache_key", ["k", None], [5]),
    ("prompt_cache_retention", ["in_memory", "24h", None], ["for ever"]),
    ("metadata", [{"a": "b"}, {"a": {"b": 1}}, {}, None], ["a"]),
    ("use_beam_search", [False, None], [True]),
    ("length_penalty", [1, 1.0, None], [0.5, 2, "1"]),
    ("typical_p", [1.0, None], [0.9]),
    ("bad_words", [[], None], [["x"]]),
    ("logits_processors", [[], None], [["x"]]),
    ("logit_bias", [{}, None], [{"x": 1}]),
    ("spaces_between_special_tokens", [True, None], [False]),
    ("return_token_ids", [False, None], [True]),
    ("return_tokens_as_token_ids", [False, None], [True]),
    ("return_hidden_states", [False, None], [True]),
    ("no_stop_trim", [False, None], [True]),
    ("mm_processor_kwargs", [{}, None], [{"a": 1}]),
    ("media_io_kwargs", [{}, None], [{"a": 1}]),
    ("vllm_xargs", [{}, None], [{"a": 1}]),
    # Known to others, and listed nowhere here.
    *((name, [None], [1]) for name in ("truncate_prompt_tokens", "cache_salt", "lora_path")),
    *((name, [None], ["x"]) for name in ("guided_decoding_backend", "web_search_options", "ebnf")),
    *((name, [None], [{}]) for name in ("prediction", "audio", "kv_transfer_params")),
]
CHAT_ONLY: list[tuple[str, list[Any], list[Any]]] = [
    ("modalities", [["text"], [], None], [["text", "audio"], "text"]),
    ("verbosity", ["low", "medium", "high", None], ["loud"]),
    ("reasoning_effort", ["none", "minimal", "low", "medium", "high", "xhigh", None], ["extreme"]),
    ("functions", [[], None], [[{"name": "f"}]]),
    ("function_call", ["none", "auto", None], [{"name": "f"}]),
    ("echo", [False, None], [True]),
    ("suffix", [None], ["x"]),
    ("add_generation_prompt", [True, None], [False]),
    ("continue_final_message", [False, None], [True]),
    ("add_special_tokens", [False, None], [True]),
    ("documents", [[], None], [[{"text": "x"}]]),
    ("chat_template", [None], ["{{ messages }}"]),
    ("include_reasoning", [True, None], [False]),
    ("stream_reasoning", [True, None], [False]),
    ("top_logprobs", [0, None], [1]),
]
TEXT_ONLY: list[tuple[str, list[Any], list[Any]]] = [
    ("suffix", ["", None], ["x"]),
    ("echo", [False, None], [1]),
    ("reasoning_effort", [None], ["low"]),
]
ENDPOINT_AND_FIELD = [
    *((CHAT, *case) for case in BOTH + CHAT_ONLY),
    *((TEXT, *case) for case in BOTH + TEXT_ONLY),
]


def answer_of(api: httpx.Client, endpoint: tuple[str, dict[str, Any]], **fields: Any) -> Any:
    path, body = endpoint
    response = api.post(path, json=body | GREEDY | fields)
    assert response.status_code == 200, response.text
    answer = response.json()
    return answer["choices"], answer["usage"]["completion_tokens"]


@pytest.mark.parametrize(("endpoint", "name", "accepted", "refused"), ENDPOINT_AND_FIELD)
def test_values_without_effect_are_taken_and_others_refused_by_name(
    api: httpx.Client,
    endpoint: tuple[str, dict[str, Any]],
    name: str,
    accepted: list[Any],
    refused: list[Any],
) -> None:
    expected = answer_of(api, endpoint)
    for value in accepted:
        assert answer_of(api, endpoint, **{name: value}) == expected, value
    for value in refused:
        response = api.post(endpoint[0], json=endpoint[1] | {name: value})
        assert response.status_code == 400, value
        error = error_of(response)
        assert error["param"].split(".")[0] == name
        assert name in error["message"]


@pytest.mark.parametrize("endpoint", [CHAT, TEXT])
def test_best_of_may_be_n(api: httpx.Client, endpoint: tuple[str, dict[str, Any]]) -> None:
    choices, _ = answer_of(api, endpoint, n=3, best_of=3)
    assert len(choices) == 3
    refused = api.post(endpoint[0], json=endpoint[1] | {"n": 3, "best_of": 4})
    assert error_of(refused)["message"] == "best_of must be n, which is 3, got 4"


def test_an_unknown_field_that_is_null_is_taken_at_any_depth(api: httpx.Client) -> None:
    path, body = CHAT
    function = {"name": "f", "colour": None}
    fields = {
        "colour": None,
        "tools": [{"type": "function", "function": function, "colour": None}],
        "stream_options": {"include_usage": True, "colour": None},
        "response_format": {"type": "text", "colour": None},
        "messages": [{"role": "user", "content": "Alice", "colour": None}],
        "stream": True,
    }
    assert api.post(path, json=body | GREEDY | fields).status_code == 200
    assert api.post("/tokenize", json={"prompt": "x", "colour": None}).status_code == 200
    assert api.post("/tokenize", json={"prompt": "x", "colour": 1}).status_code == 400


@pytest.mark.parametrize("model", [ChatCompletionRequest, CompletionRequest])
def test_the_document_lists_them(
    api: httpx.Client, model: type[ChatCompletionRequest | CompletionRequest]
) -> None:
    document = api.get("/openapi.json").json()
    listed = document["components"]["schemas"][model.__name__]["properties"]
    only = CHAT_ONLY if model is ChatCompletionRequest else TEXT_ONLY
    for name, accepted, _ in BOTH + only:
        assert name in listed or accepted == [None], name
    assert listed["length_penalty"]["anyOf"][0] == {"type": "number", "const": 1}
    assert listed["service_tier"]["anyOf"][0]["enum"] == ["auto", "default"]


def test_a_request_id_in_the_body_names_the_request(api: httpx.Client) -> None:
    for path, body in (CHAT, TEXT):
        fields = body | GREEDY | {"request_id": "mine-1"}
        assert api.post(path, json=fields).headers["x-request-id"] == "mine-1"
        both = api.post(path, json=fields, headers={"X-Request-Id": "header-1"})
        assert both.headers["x-request-id"] == "header-1"
        assert error_of(api.post(path, json=body | {"request_id": "a b"}))["param"] == "request_id"


def test_special_tokens_may_be_left_out_of_a_text_prompt(api: httpx.Client) -> None:
    assert answer_of(api, TEXT, add_special_tokens=False) == answer_of(api, TEXT)
