"""chat_template_kwargs and reasoning_effort reach the checkpoint's template."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from suites.online.conftest import MakeLLM
from suites.online.event_stream import error_of
from suites.online.live_server import live_server

TEMPLATE = (
    "{% for message in messages %}{{ message.content }}{% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %} the{% endif %}"
    "{% if reasoning_effort %} {{ reasoning_effort }}{% endif %}"
    "{% for word in words or [] %} {{ word }}{% endfor %}"
)
MESSAGES = [{"role": "user", "content": "Alice"}]


@pytest.fixture(scope="module")
def templated(
    make_llm: MakeLLM, model_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A server whose template reads variables."""
    folder = tmp_path_factory.mktemp("templated") / "model"
    folder.mkdir()
    for file in model_path.iterdir():
        if file.name != "chat_template.jinja":
            (folder / file.name).symlink_to(file.resolve())
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    with live_server(make_llm(model=folder)) as running:
        with httpx.Client(base_url=running.url, timeout=300) as client:
            yield client
        running.wait_until_idle()


@pytest.mark.criterion("s0.online", "s4.online")
@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({}, "Alice"),
        ({"chat_template_kwargs": None}, "Alice"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "Alice"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "Alice the"),
        ({"chat_template_kwargs": {"words": ["Queen", "King"]}}, "Alice Queen King"),
        ({"chat_template_kwargs": {"unread": 5}}, "Alice"),
        ({"reasoning_effort": "low"}, "Alice low"),
        ({"reasoning_effort": "low", "chat_template_kwargs": {"reasoning_effort": "own"}},
         "Alice own"),
    ],
)  # fmt: skip
def test_the_template_gets_them(
    templated: httpx.Client, fields: dict[str, Any], prompt: str
) -> None:
    plain = {"prompt": prompt, "add_special_tokens": False}
    expected = templated.post("/tokenize", json=plain).json()
    body = {"messages": MESSAGES, "max_tokens": 1} | fields
    usage = templated.post("/v1/chat/completions", json=body).json()["usage"]
    assert usage["prompt_tokens"] == expected["count"]
    if "reasoning_effort" not in fields:
        tokens = templated.post("/tokenize", json={"messages": MESSAGES} | fields).json()
        assert tokens["tokens"] == expected["tokens"]


@pytest.mark.parametrize("name", ["messages", "tools", "add_generation_prompt", "self"])
def test_variables_of_the_request_itself_cannot_be_set(templated: httpx.Client, name: str) -> None:
    fields = {"messages": MESSAGES, "chat_template_kwargs": {name: []}}
    for path in ("/v1/chat/completions", "/tokenize"):
        response = templated.post(path, json=fields)
        assert response.status_code == 400
        assert error_of(response)["param"] == "chat_template_kwargs"
        assert repr(name) in error_of(response)["message"]


@pytest.mark.parametrize("value", ["{}", [], 5])
def test_they_are_an_object(templated: httpx.Client, value: object) -> None:
    fields = {"messages": MESSAGES, "chat_template_kwargs": value}
    message = error_of(templated.post("/v1/chat/completions", json=fields))["message"]
    assert message == f"chat_template_kwargs must be an object, got {json.dumps(value)}"


def test_a_template_that_cannot_use_a_value_is_a_bad_request(templated: httpx.Client) -> None:
    fields = {"messages": MESSAGES, "chat_template_kwargs": {"words": 5}}
    assert templated.post("/v1/chat/completions", json=fields).status_code == 400
