"""Texts with calls of tools, in the form that tool_calls.py reads, as grammars."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stagegate.structured.guidance import Guidance
from stagegate.text.reasoning import OPEN as THINK
from stagegate.text.tool_calls import CLOSE, OPEN

if TYPE_CHECKING:
    from collections.abc import Mapping


def calls(tools: Mapping[str, Guidance], *, parallel: bool) -> Guidance:
    """One call of a tool, or one and more where they may be parallel, and nothing else.

    tools: for each name, the form of its arguments.
    """
    return Guidance.composed(
        f"start: {_calls(parallel=parallel)}\n{_call(tools)}", _arguments(tools)
    )


def calls_or_answer(tools: Mapping[str, Guidance], answer: Guidance, *, parallel: bool) -> Guidance:
    """Calls as above, or a text that fits the form of the answer."""
    return Guidance.composed(
        f"start: {_calls(parallel=parallel)} | @answer\n{_call(tools)}",
        _arguments(tools) | {"answer": answer},
    )


def text_then_call(tools: Mapping[str, Guidance], *, reasoning: bool) -> Guidance:
    """Any text; the first call in it, if there is one, ends it.

    reasoning: this comes behind Guidance.after_reasoning, which reads a text that begins with
    `<think>` then.
    """
    free = f"/(?s:.*)/ & ~/{THINK}(?s:.*)/" if reasoning else "/(?s:.*)/"
    before = f"/(?s:.*){OPEN}/ & ~/{THINK}(?s:.*)/" if reasoning else f"/(?s:.*){OPEN}/"
    return Guidance.composed(
        "start: text_to_call body | TEXT\n"
        "text_to_call[lazy]: TEXT_TO_CALL\n"
        f"TEXT_TO_CALL: {before}\n"
        f"TEXT: {free}\n"
        f"{_bodies(tools)}",
        _arguments(tools),
    )


def _calls(*, parallel: bool) -> str:
    return 'call ("\\n" call)*' if parallel else "call"


def _call(tools: Mapping[str, Guidance]) -> str:
    return f"call: {json.dumps(OPEN)} body\n{_bodies(tools)}"


def _bodies(tools: Mapping[str, Guidance]) -> str:
    """What follows the open tag, for each tool."""
    close = json.dumps(f"}}\n{CLOSE}")
    bodies = [
        json.dumps(f'\n{{"name": {json.dumps(name)}, "arguments": ')
        + f" @arguments_{index} {close}"
        for index, name in enumerate(tools)
    ]
    return "body: " + "\n    | ".join(bodies)


def _arguments(tools: Mapping[str, Guidance]) -> dict[str, Guidance]:
    return {f"arguments_{index}": form for index, form in enumerate(tools.values())}
