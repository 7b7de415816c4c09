"""Conversion of request fields to engine parameters."""

from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import ValidationError

from stagegate.errors import InvalidRequestError
from stagegate.sampling import ROW_RANGES, SamplingParams
from stagegate.server.openai.params import sampling_params
from stagegate.server.openai.protocol import ChatCompletionRequest, CompletionRequest
from stagegate.serving.client import EngineClient

RECOMMENDED = SamplingParams(temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.05)
STATED: dict[str, Any] = {
    "n": 2,
    "min_tokens": 3,
    "temperature": 0.5,
    "top_p": 0.25,
    "top_k": 5,
    "min_p": 0.125,
    "repetition_penalty": 1.5,
    "presence_penalty": -1.0,
    "frequency_penalty": 1.25,
    "seed": 9,
    "stop": ("a", "b"),
    "stop_token_ids": (1, 2),
    "include_stop_str_in_output": True,
    "ignore_eos": True,
    "skip_special_tokens": False,
}
# What a body says in other words than SamplingParams.
OTHERWISE = {
    "max_tokens": "has other names too, and the default of its endpoint",
    "logit_bias": "has keys that are text; see the test of it",
    "logprobs": "is a flag and top_logprobs in a chat",
    "prompt_logprobs": "is asked for by echo and logprobs together",
    "grammar": "comes from response_format, structured_outputs, guided_* and tools",
}


def request(**stated: Any) -> ChatCompletionRequest:
    as_lists = {k: list(v) if isinstance(v, tuple) else v for k, v in stated.items()}
    return ChatCompletionRequest.model_validate(
        {"messages": [{"role": "user", "content": "x"}]} | as_lists
    )


def translated(**stated: Any) -> SamplingParams:
    def recommend(max_tokens: int | None) -> SamplingParams:
        return replace(RECOMMENDED, max_tokens=max_tokens)

    engine = cast("EngineClient", SimpleNamespace(default_sampling_params=recommend))
    return sampling_params(request(**stated), engine, max_tokens=40, logprobs=None, grammar=None)


def test_nothing_stated_is_what_the_authors_recommend() -> None:
    assert translated() == replace(RECOMMENDED, max_tokens=40)


@pytest.mark.parametrize("name", STATED)
def test_a_stated_field_rules_alone(name: str) -> None:
    assert translated(**{name: STATED[name]}) == replace(
        RECOMMENDED, max_tokens=40, **{name: STATED[name]}
    )


def test_a_body_can_state_every_parameter() -> None:
    names = {part.name for part in fields(SamplingParams)}
    assert STATED.keys() | OTHERWISE.keys() == names
    assert names - ChatCompletionRequest.model_fields.keys() == {"prompt_logprobs", "grammar"}
    assert STATED.keys() <= CompletionRequest.model_fields.keys()


@pytest.mark.parametrize("name", ROW_RANGES)
def test_a_body_takes_the_range_of_the_engine(name: str) -> None:
    span = ROW_RANGES[name]
    assert span.high is not None
    above, below = span.high + 1, min(span.low, -1) - 1
    for value in (above, below):
        with pytest.raises(ValidationError, match=name):
            request(**{name: value})
        fields: dict[str, Any] = {name: value}
        with pytest.raises(InvalidRequestError, match=f"{name} must be {span}"):
            SamplingParams(**fields)
    assert getattr(translated(**{name: span.high}), name) == span.high


def test_top_k_is_off_with_minus_one_too() -> None:
    assert translated(top_k=-1).top_k == 0


def test_logit_bias_is_keyed_by_numbers() -> None:
    assert translated(logit_bias={"7": 1.5, "09": -2}).logit_bias == {7: 1.5, 9: -2.0}
    for key in ("x", "-1", "1.5", "٣", "9" * 400, ""):
        with pytest.raises(InvalidRequestError) as caught:
            translated(logit_bias={key: 1.0})
        assert caught.value.parameter == "logit_bias"
