"""outlines over a vLLM-compatible server: text, JSON, choices and a regular expression."""

from __future__ import annotations

import re
from typing import Literal

import openai
import outlines
from checks import MODEL, QUESTION, URL, check, run
from outlines.types import Regex
from pydantic import BaseModel

model = outlines.from_vllm(openai.OpenAI(base_url=URL, api_key="any", max_retries=0), MODEL)


class Weather(BaseModel):
    city: str
    days: int


@check
def answers_text() -> None:
    assert "Carroll" in model(QUESTION, temperature=0)


@check
def keeps_to_a_model() -> None:
    Weather.model_validate_json(model(QUESTION, Weather, max_tokens=400))


@check
def keeps_to_a_choice() -> None:
    assert model(QUESTION, Literal["cat", "rabbit"]) in {"cat", "rabbit"}


@check
def keeps_to_a_pattern() -> None:
    assert re.fullmatch("[0-9]{3}-[a-z]{2}", model(QUESTION, Regex("[0-9]{3}-[a-z]{2}")))


@check
def streams() -> None:
    assert "Carroll" in "".join(model.stream(QUESTION, temperature=0))


run("outlines", "openai")
