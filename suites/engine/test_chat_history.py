"""Tool calls of earlier turns in prompts: as transformers renders them, whatever the template."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter

from stagegate.errors import InvalidRequestError
from stagegate.server.openai.messages import Message, template_messages
from stagegate.text.chat_template import ChatTemplate
from suites.engine.chat_history import CONVERSATIONS, TEMPLATES, TOKENS
from suites.engine.record_chat_history import RECORDED, prompts

MESSAGES: TypeAdapter[list[Message]] = TypeAdapter(list[Message])


def rendered(template: str, messages: list[dict[str, Any]]) -> str:
    source = TEMPLATES[template].source if template in TEMPLATES else template
    return ChatTemplate(source, TOKENS).render(
        template_messages(MESSAGES.validate_python(messages)), add_generation_prompt=False
    )


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_equals_what_was_recorded(template: str, conversation: str) -> None:
    recorded = json.loads(RECORDED.read_text("utf-8"))
    wanted = recorded[template][conversation]
    if wanted is None:
        with pytest.raises(InvalidRequestError, match="one call at a time"):
            rendered(template, CONVERSATIONS[conversation])
    else:
        assert rendered(template, CONVERSATIONS[conversation]) == wanted


@pytest.mark.requires_hf
@pytest.mark.filterwarnings("ignore")
def test_the_recording_is_what_transformers_makes() -> None:
    assert prompts() == json.loads(RECORDED.read_text("utf-8"))


def test_null_beside_calls_is_no_text() -> None:
    prompt = rendered("null_means_calls", CONVERSATIONS["null"])
    assert '<call>function<sep>weather\n```json\n{"city":"Köln",  "at"' in prompt


def answer(arguments: str) -> list[dict[str, Any]]:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return [{"role": "assistant", "content": None, "tool_calls": [call]}]


@pytest.mark.parametrize(
    "cut_off", ["{", '{"city": "K', '{"x": NaN}', '{"x": 1e400}', ' {"x": 1}}']
)
def test_arguments_that_are_no_json_are_text(cut_off: str) -> None:
    """As an answer that max_tokens ended has them."""
    source = (
        "{% for m in messages %}{{ '<' + m.tool_calls[0].function.arguments + '>' }}{% endfor %}"
    )
    assert rendered(source, answer(cut_off)) == f"<{cut_off}>"
    quoted = rendered("hermes", answer(cut_off))
    assert f'"arguments": {json.dumps(cut_off)}}}' in quoted


def test_no_arguments_are_an_empty_object() -> None:
    assert '"arguments": {}}' in rendered("hermes", answer(""))


@pytest.mark.parametrize("arguments", ["[]", "5", "null", '"{}"', "x", "[" * 50_000])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"messages\.0\.tool_calls\.0\.function"):
        rendered("hermes", answer(arguments))


def test_null_without_calls_is_an_empty_text() -> None:
    assert rendered("null_or_text", [{"role": "assistant", "content": None}]) == "<s><assistant>"


def test_a_template_s_own_refusal_is_what_is_reported() -> None:
    """Also where null content was tried as an empty text before."""
    with pytest.raises(InvalidRequestError, match="one call at a time"):
        rendered("llama", CONVERSATIONS["two_calls"])
