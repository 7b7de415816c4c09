"""Reasoning, content and calls in one text, however it is split into pieces."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate.outputs import ChoiceDelta
from stagegate.server.openai.message_reader import MessageReader
from stagegate.server.openai.tool_choice import ToolChoice

NO_TOOLS = ToolChoice()
TOOLS = ToolChoice(tools=[{"type": "function", "function": {"name": "f"}}])
FORCED = ToolChoice(tools=TOOLS.tools, forced=True)

SCHEMA_TEXT = '{"answer": "</think> <think> <tool_call> \\"name\\" </tool_call>"}'
CALL = '<tool_call>\n{"name": "f", "arguments": {"x": "</think></tool_call>"}}\n</tool_call>'


@dataclass
class Message:
    """The result of a reader for a text."""

    reasoning: str = ""
    content: str = ""
    calls: list[list[str]] = field(default_factory=list)
    whole_calls: bool = False


def read(
    pieces: list[str],
    tools: ToolChoice,
    *,
    thinking: bool,
    reasoning: bool = True,
    finish_reason: Any = "stop",
) -> Message:
    reader = MessageReader(tools, reasoning=reasoning, thinking=thinking)
    message = Message()
    for number, piece in enumerate(pieces, start=1):
        reason = finish_reason if number == len(pieces) else None
        part = reader.read(ChoiceDelta(0, piece, [], None, reason, None))
        message.reasoning += part.reasoning
        message.content += part.content
        for call in part.calls:
            if call.name is not None:
                message.calls.append([call.name, ""])
            message.calls[call.index][1] += call.arguments
    message.whole_calls = reader.has_whole_calls
    return message


@pytest.mark.parametrize("tools", [NO_TOOLS, TOOLS])
@pytest.mark.parametrize(
    ("text", "thinking"),
    [
        (f"I must answer {{}}.\n</think>\n\n{SCHEMA_TEXT}", True),
        (f"<think>I must answer {{}}.\n</think>\n\n{SCHEMA_TEXT}", False),
    ],
)
def test_a_structured_answer_behind_a_thought_is_content(
    text: str, thinking: bool, tools: ToolChoice
) -> None:
    json.loads(SCHEMA_TEXT)
    for pieces in ([text], list(text)):
        message = read(pieces, tools, thinking=thinking)
        assert message == Message("I must answer {}.\n", SCHEMA_TEXT)


@pytest.mark.parametrize("tools", [TOOLS, FORCED])
@pytest.mark.parametrize("thinking", [False, True])
def test_calls_behind_a_thought(tools: ToolChoice, thinking: bool) -> None:
    text = f"{'' if thinking else '<think>'}I call.</think>\n\n{CALL}\n{CALL}"
    arguments = '{"x": "</think></tool_call>"}'
    wanted = Message("I call.", "", [["f", arguments], ["f", arguments]], whole_calls=True)
    for pieces in ([text], list(text)):
        assert read(pieces, tools, thinking=thinking) == wanted


def test_a_structured_answer_where_calls_are_allowed_is_content() -> None:
    """Text that a grammar of calls or a schema allows."""
    for pieces in ([SCHEMA_TEXT], list(SCHEMA_TEXT)):
        message = read(pieces, TOOLS, thinking=False, reasoning=False)
        assert message == Message(content=SCHEMA_TEXT)


def test_a_thought_that_is_cut_off_is_no_content() -> None:
    for tools in (NO_TOOLS, TOOLS, FORCED):
        message = read(["I thi", "nk </thi"], tools, thinking=True, finish_reason="length")
        assert message == Message("I think </thi")


@pytest.mark.parametrize("name", [None, "f"])
def test_a_forced_call_that_is_cut_off(name: str | None) -> None:
    tools = ToolChoice(tools=TOOLS.tools, forced=True, name=name)
    for length in range(1, len(CALL)):
        message = read(
            list(CALL[:length]), tools, thinking=False, reasoning=False, finish_reason="length"
        )
        assert message.content == ""
        if name is not None or length > CALL.index('",'):
            [[called, arguments]] = message.calls
            assert called == "f"
            assert CALL[CALL.index('{"x"') :].startswith(arguments)
            assert message.whole_calls == (length >= CALL.index("}}") + 1)


def call(arguments: dict[str, Any]) -> str:
    return f'<tool_call>\n{{"name": "f", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


WORDS = st.text(alphabet="abc é{}[]:,", min_size=1, max_size=8)
STRINGS = st.lists(
    st.sampled_from(["<think>", "</think>", "<tool_call>", "</tool_call>", '"', "\\", "}", "x"])
).map("".join)
ARGUMENTS = st.dictionaries(STRINGS, STRINGS | st.lists(STRINGS), max_size=2)


@given(
    st.none() | WORDS,
    st.lists(WORDS.map(str.strip).filter(bool) | ARGUMENTS, max_size=5),
    st.booleans(),
    st.lists(st.integers(1, 9), min_size=1),
)
def test_any_message_is_read_as_it_was_made(
    thought: str | None, parts: list[str | dict[str, Any]], opened: bool, lengths: list[int]
) -> None:
    opened = opened and thought is not None
    text = "" if thought is None else f"{thought}</think>\n\n"
    if thought is not None and not opened:
        text = f"<think>{text}"
    text += "\n".join(part if isinstance(part, str) else call(part) for part in parts)
    wanted = Message(thought or "", whole_calls=any(isinstance(part, dict) for part in parts))
    wanted.calls = [["f", json.dumps(part)] for part in parts if isinstance(part, dict)]
    for number, part in enumerate(parts):
        if isinstance(part, str):
            # The line end between two parts belongs to neither where one is a call.
            gap = number > 0 and isinstance(parts[number - 1], str)
            wanted.content += f"\n{part}" if gap else part
    pieces = split(text, lengths)
    assert read(pieces, TOOLS, thinking=opened) == wanted
    assert read([text], TOOLS, thinking=opened) == wanted


@given(
    st.lists(
        st.sampled_from(
            [
                *("<think>", "</think>", "<tool_call>", "</tool_call>", "\n", " ", "word", "<"),
                *('{"name": "f"', ', "arguments": {', "}", '"', '{"x": ', CALL),
            ]
        )
    ),
    st.sampled_from([NO_TOOLS, TOOLS, FORCED]),
    st.booleans(),
    st.sampled_from(["stop", "length"]),
    st.lists(st.integers(1, 9), min_size=1),
)
def test_pieces_make_no_difference(
    parts: list[str], tools: ToolChoice, thinking: bool, finish_reason: str, lengths: list[int]
) -> None:
    text = "".join(parts)
    options: dict[str, Any] = {"thinking": thinking, "finish_reason": finish_reason}
    assert read(split(text, lengths), tools, **options) == read([text], tools, **options)


def split(text: str, lengths: list[int]) -> list[str]:
    """At least one piece, the last of which may be empty, as an end token leaves it."""
    pieces: list[str] = []
    at = 0
    while at < len(text):
        length = lengths[len(pieces) % len(lengths)]
        pieces.append(text[at : at + length])
        at += length
    return [*pieces, ""]
