"""Conversations to prompts as Hugging Face renders them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stagegate.errors import InvalidRequestError, TokenizerError
from stagegate.text.chat_template import ChatTemplate
from suites.engine.conftest import TINY

CONVERSATIONS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "Who wrote this book?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "<b>&\n'é'"}],
    [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ],
]


@pytest.fixture(scope="module")
def template() -> ChatTemplate:
    return ChatTemplate.load(TINY)


def test_chatml(template: ChatTemplate) -> None:
    text = template.render([{"role": "user", "content": "Hello"}])
    assert text.endswith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
    assert text.startswith("<|im_start|>system\n")
    closed = template.render([{"role": "user", "content": "Hello"}], add_generation_prompt=False)
    assert text == closed + "<|im_start|>assistant\n"


@pytest.mark.requires_hf
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_equals_hugging_face(template: ChatTemplate, conversation: list[dict[str, Any]]) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(TINY)
    for prompt in (True, False):
        assert template.render(
            conversation, add_generation_prompt=prompt
        ) == theirs.apply_chat_template(conversation, tokenize=False, add_generation_prompt=prompt)


@pytest.mark.requires_hf
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "source",
    [
        "{{ messages | tojson }}",
        "{{ messages | tojson(ensure_ascii=True, indent=2) }}",
        "{{ messages | tojson(separators=(',', ':'), sort_keys=True) }}",
        "{% for m in messages %}\n  {% generation %}\n{{ m.content }}\n  {% endgeneration %}\n|"
        "{% endfor %}",
        "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
        "{{ documents is none }}{{ bos_token is defined }}{{ eos_token }}{{ tools is none }}",
        "{{ style }}{% for m in messages %}{% if loop.last %}{% break %}{% endif %}x{% endfor %}",
    ],
)
def test_the_dialect_is_hugging_face_s(source: str) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(TINY)
    ours = ChatTemplate(source, {"eos_token": theirs.eos_token, "pad_token": theirs.pad_token})
    for conversation in CONVERSATIONS:
        assert ours.render(conversation, style="terse") == theirs.apply_chat_template(
            conversation,
            chat_template=source,
            tokenize=False,
            add_generation_prompt=True,
            style="terse",
        )


@pytest.mark.parametrize(
    "messages",
    ["text", [], {"role": "user"}, ["text"], [{"content": "x"}], [{"role": 3, "content": "x"}]],
)
def test_bad_messages(template: ChatTemplate, messages: Any) -> None:
    with pytest.raises(InvalidRequestError, match="messages") as caught:
        template.render(messages)
    assert caught.value.parameter == "messages"


def test_a_template_may_refuse(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ raise_exception('no tools here') }}")
    with pytest.raises(InvalidRequestError, match="no tools here"):
        ChatTemplate.load(tmp_path).render(CONVERSATIONS[0])


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[0].content + 1 }}",
        "{{ 1 // (messages | length - 1) }}",
        "{{ messages[0].content.index('nowhere') }}",
        "{{ range(10 ** 9) }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    ],
)
def test_a_template_that_fails_is_a_bad_request(source: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot take these messages") as caught:
        ChatTemplate(source, {}).render(CONVERSATIONS[0])
    assert caught.value.parameter == "messages"


def test_a_template_cannot_reach_outside(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(
        "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    )
    with pytest.raises(InvalidRequestError, match="unsafe"):
        ChatTemplate.load(tmp_path).render(CONVERSATIONS[0])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "neither"),
        ({"chat_template.jinja": "{% if %}"}, "does not compile"),
        ({"chat_template.jinja": "{% break %}"}, "does not compile"),
        ({"chat_template.jinja": "{{" + "(" * 5000}, "does not compile"),
        ({"tokenizer_config.json": "{"}, "cannot be read"),
        ({"tokenizer_config.json": '{"chat_template": 3}'}, "chat_template"),
        ({"tokenizer_config.json": '{"chat_template": [{"name": "rag"}]}'}, "name and template"),
        ({"tokenizer_config.json": '{"chat_template": "", "bos_token": {"x": 1}}'}, "bos_token"),
        ({"tokenizer_config.json": '{"chat_template": "", "eos_token": ["a"]}'}, "eos_token"),
    ],
)
def test_unusable_templates(tmp_path: Path, files: dict[str, str], words: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(TokenizerError, match=words):
        ChatTemplate.load(tmp_path)
