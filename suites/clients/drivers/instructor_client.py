"""instructor: Pydantic models out of each of its modes, whole, partial and as a list."""

from __future__ import annotations

import instructor
from checks import MODEL, QUESTION, URL, check, run
from openai import OpenAI
from pydantic import BaseModel

MESSAGES = [{"role": "user", "content": QUESTION}]


class Address(BaseModel):
    street: str
    number: int


class Person(BaseModel):
    name: str
    home: Address


def client(mode: instructor.Mode) -> instructor.Instructor:
    return instructor.from_openai(OpenAI(base_url=URL, api_key="any", max_retries=0), mode=mode)


def create(mode: instructor.Mode) -> None:
    person = client(mode).create(
        model=MODEL, messages=MESSAGES, response_model=Person, max_tokens=600, max_retries=0
    )
    assert isinstance(person, Person)


@check
def creates_by_tools() -> None:
    create(instructor.Mode.TOOLS)


@check
def creates_by_json_schema() -> None:
    create(instructor.Mode.JSON_SCHEMA)


@check
def streams_a_partial_model() -> None:
    states = list(
        client(instructor.Mode.JSON_SCHEMA).create_partial(
            model=MODEL, messages=MESSAGES, response_model=Person, max_tokens=600, max_retries=0
        )
    )
    assert states[-1].home.number is not None


run("instructor", "openai")
