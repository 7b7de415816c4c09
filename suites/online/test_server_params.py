"""Fields of requests to parameters of the engine."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine.errors import InvalidRequestError
from engine.llm_engine import LLMEngine
from engine.sampling import SamplingParams
from engine.server.params import sampling_params
from engine.server.protocol import ChatCompletionRequest

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


def request(**fields: Any) -> ChatCompletionRequest:
    as_lists = {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
    return ChatCompletionRequest(messages=[{"role": "user", "content": "x"}], **as_lists)


def translated(**fields: Any) -> SamplingParams:
    def recommend(max_tokens: int | None) -> SamplingParams:
        return replace(RECOMMENDED, max_tokens=max_tokens)

    engine = cast("LLMEngine", SimpleNamespace(default_sampling_params=recommend))
    return sampling_params(request(**fields), engine, max_tokens=40, logprobs=None, guidance=None)


def test_nothing_stated_is_what_the_authors_recommend() -> None:
    assert translated() == replace(RECOMMENDED, max_tokens=40)


@pytest.mark.parametrize("name", STATED)
def test_a_stated_field_rules_alone(name: str) -> None:
    assert translated(**{name: STATED[name]}) == replace(
        RECOMMENDED, max_tokens=40, **{name: STATED[name]}
    )


def test_top_k_is_off_with_minus_one_too() -> None:
    assert translated(top_k=-1).top_k == 0


def test_logit_bias_is_keyed_by_numbers() -> None:
    assert translated(logit_bias={"7": 1.5, "09": -2}).logit_bias == {7: 1.5, 9: -2.0}
    for key in ("x", "-1", "1.5", "٣", "9" * 400, ""):
        with pytest.raises(InvalidRequestError) as caught:
            translated(logit_bias={key: 1.0})
        assert caught.value.parameter == "logit_bias"
