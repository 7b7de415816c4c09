"""Grammars of texts with tool calls, in the format that tool_calls.py reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stagegate.structured.grammar import Grammar
from stagegate.text.reasoning import OPEN as THINK
from stagegate.text.tool_calls import CLOSE, OPEN

if TYPE_CHECKING:
    from collections.abc import Mapping


def calls(tools: Mapping[str, Grammar], *, parallel: bool) -> Grammar:
    """One tool call, or one or more if parallel calls are allowed, and nothing else.

    tools: for each name, the grammar of its arguments.
    """
    return Grammar.composed(
        f"start: {_calls(parallel=parallel)}\n{_call(tools)}", _arguments(tools)
    )


def calls_or_answer(tools: Mapping[str, Grammar], answer: Grammar, *, parallel: bool) -> Grammar:
    """Calls as above, or a text that matches the grammar of the answer."""
    return Grammar.composed(
        f"start: {_calls(parallel=parallel)} | @answer\n{_call(tools)}",
        _arguments(tools) | {"answer": answer},
    )


def text_then_call(tools: Mapping[str, Grammar], *, reasoning: bool) -> Grammar:
    """Any text; its first call, if any, ends it.

    reasoning: this follows Grammar.after_reasoning, which then reads a text that begins with
    `<think>`.
    """
    free = f"/(?s:.*)/ & ~/{THINK}(?s:.*)/" if reasoning else "/(?s:.*)/"
    before = f"/(?s:.*){OPEN}/ & ~/{THINK}(?s:.*)/" if reasoning else f"/(?s:.*){OPEN}/"
    return Grammar.composed(
        "start: text_to_call body | TEXT\n"
        "text_to_call[lazy]: TEXT_TO_CALL\n"
        f"TEXT_TO_CALL: {before}\n"
        f"TEXT: {free}\n"
        f"{_bodies(tools)}",
        _arguments(tools),
    )


def _calls(*, parallel: bool) -> str:
    return 'call ("\\n" call)*' if parallel else "call"


def _call(tools: Mapping[str, Grammar]) -> str:
    return f"call: {json.dumps(OPEN)} body\n{_bodies(tools)}"


def _bodies(tools: Mapping[str, Grammar]) -> str:
    """The text after the open tag, for each tool."""
    close = json.dumps(f"}}\n{CLOSE}")
    bodies = [
        json.dumps(f'\n{{"name": {json.dumps(name)}, "arguments": ')
        + f" @arguments_{index} {close}"
        for index, name in enumerate(tools)
    ]
    return "body: " + "\n    | ".join(bodies)


def _arguments(tools: Mapping[str, Grammar]) -> dict[str, Grammar]:
    return {f"arguments_{index}": grammar for index, grammar in enumerate(tools.values())}
