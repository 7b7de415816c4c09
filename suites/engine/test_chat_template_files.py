"""Which template of a checkpoint folder renders a conversation, and with what variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stagegate.errors import TokenizerError
from stagegate.text.chat_template import ChatTemplate
from suites.engine.edited_checkpoint import Edits, edited

CONFIG = "tokenizer_config.json"
FILE = "chat_template.jinja"
TOOL_FILE = "additional_chat_templates/tool_use.jinja"
MESSAGES = [{"role": "user", "content": "hi"}]
TOOLS = [{"name": "<é>"}]


def named(**templates: str) -> dict[str, Any]:
    return {
        "chat_template": [
            {"name": name, "template": template} for name, template in templates.items()
        ]
    }


@pytest.mark.parametrize(
    ("edits", "plain", "with_tools"),
    [
        (
            {CONFIG: {"chat_template": "one {{ tools | tojson }}"}},
            "one null",
            'one [{"name": "<é>"}]',
        ),
        ({CONFIG: named(default="d", tool_use="t", rag="r")}, "d", "t"),
        ({CONFIG: named(default="d", rag="r")}, "d", "d"),
        ({CONFIG: {"chat_template": {"default": "d", "tool_use": "t"}}}, "d", "t"),
        # Files rule out all of tokenizer_config.json.
        ({FILE: "f"}, "f", "f"),
        ({FILE: "f", CONFIG: None}, "f", "f"),
        ({FILE: "f", CONFIG: named(default="d", tool_use="t")}, "f", "f"),
        ({FILE: "f", TOOL_FILE: "ft"}, "f", "ft"),
        ({FILE: "f", TOOL_FILE: "ft", CONFIG: named(default="d", tool_use="t")}, "f", "ft"),
        ({FILE: "f", "additional_chat_templates/rag.jinja": "r"}, "f", "f"),
        ({"additional_chat_templates/default.jinja": "a", TOOL_FILE: "ft"}, "a", "ft"),
        ({FILE: "f", "chat_template.json": {"chat_template": "processor"}}, "f", "f"),
        ({FILE: "说{{ messages[0].content }}\n"}, "说hi", "说hi"),
    ],
)
def test_choice(
    checkpoint_original: Path, tmp_path: Path, edits: Edits, plain: str, with_tools: str
) -> None:
    template = ChatTemplate.load(edited(checkpoint_original, tmp_path / "copy", edits))
    assert template.render(MESSAGES) == plain
    assert template.render(MESSAGES, tools=TOOLS) == with_tools


VARIABLES = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token }}|{{ tool_token }}"


@pytest.mark.parametrize(
    ("edits", "text"),
    [
        ({}, "|<|im_end|>|<|endoftext|>||"),
        ({CONFIG: None}, "|<|endoftext|>|<|endoftext|>|<|endoftext|>|"),
        ({CONFIG: {"eos_token": ...}}, "|<|endoftext|>|<|endoftext|>||"),
        ({CONFIG: {"eos_token": None, "bos_token": "<s>"}}, "<s>||<|endoftext|>||"),
        ({CONFIG: {"bos_token": {"content": "<s>"}}}, "<s>|<|im_end|>|<|endoftext|>||"),
        ({CONFIG: {"tool_token": "<tool>"}}, "|<|im_end|>|<|endoftext|>||<tool>"),
        (
            {CONFIG: {"extra_special_tokens": {"tool_token": "<tool>"}}},
            "|<|im_end|>|<|endoftext|>||<tool>",
        ),
        (
            {
                CONFIG: {"added_tokens_decoder": ...},
                "special_tokens_map.json": {"eos_token": "<|im_start|>"},
            },
            "|<|im_start|>|<|endoftext|>||",
        ),
    ],
)
def test_special_tokens_are_variables(
    checkpoint_original: Path, tmp_path: Path, edits: Edits, text: str
) -> None:
    folder = edited(checkpoint_original, tmp_path / "copy", {**edits, FILE: VARIABLES})
    assert ChatTemplate.load(folder).render(MESSAGES) == text


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({CONFIG: {"chat_template": ...}}, "neither"),
        ({CONFIG: {"chat_template": None}}, "neither"),
        ({CONFIG: {"chat_template": []}}, "neither"),
        ({CONFIG: named(tool_use="t", rag="r")}, "rag, tool_use, without a default"),
        ({TOOL_FILE: "t"}, "tool_use, without a default"),
        ({CONFIG: {"chat_template": {"default": 3}}}, "list of objects with name and template"),
        ({CONFIG: {"chat_template": [{"name": "default"}]}}, "name and template"),
        ({CONFIG: {"chat_template": ["text"]}}, "name and template"),
        ({FILE: "f", TOOL_FILE: "{% if %}"}, "does not compile"),
        ({FILE: b"\xff"}, r"chat_template\.jinja: cannot be read"),
        ({FILE: "f", TOOL_FILE: b"\xff"}, r"tool_use\.jinja: cannot be read"),
    ],
)
def test_a_folder_without_a_usable_template(
    checkpoint_original: Path, tmp_path: Path, edits: Edits, words: str
) -> None:
    with pytest.raises(TokenizerError, match=words):
        ChatTemplate.load(edited(checkpoint_original, tmp_path / "copy", edits))
