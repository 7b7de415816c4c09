"""Calls in text, however it is split into pieces."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.tool_calls import ToolCallDelta, ToolCallParser

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": "</tool>", "y": [1, {}]}}\n</tool_call>'
OTHER = '<tool_call>{"name": "g"}</tool_call>'


def parsed(pieces: list[str]) -> tuple[str, list[ToolCallDelta]]:
    parser = ToolCallParser()
    content, calls = "", []
    for piece in pieces:
        text, new = parser.push(piece)
        content += text
        calls += new
    text, new = parser.flush()
    return content + text, calls + new


def summary(calls: list[ToolCallDelta]) -> list[tuple[int, str | None, object]]:
    return [(call.index, call.name, json.loads(call.arguments)) for call in calls]


F = ("f", {"x": "</tool>", "y": [1, {}]})
G: tuple[str, dict[str, object]] = ("g", {})


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        ("Plain text.\n", "Plain text.\n", []),
        (CALL, "", [F]),
        (f"I look.\n{CALL}", "I look.", [F]),
        (f"{CALL}\n{OTHER}\n", "", [F, G]),
        (f"{CALL}\n\nDone.\n", "Done.\n", [F]),
        (f"a\n\n{CALL} b {OTHER}", "ab ", [F, G]),
        ("<tool_call>\n{broken}\n</tool_call>", "<tool_call>\n{broken}\n</tool_call>", []),
        ("<tool_call>[1]</tool_call>", "<tool_call>[1]</tool_call>", []),
        ('<tool_call>{"name": 5}</tool_call>', '<tool_call>{"name": 5}</tool_call>', []),
        (
            '<tool_call>{"name": "f", "arguments": []}</tool_call>',
            '<tool_call>{"name": "f", "arguments": []}</tool_call>',
            [],
        ),
        ('<tool_call>\n{"name": "f"', '<tool_call>\n{"name": "f"', []),
        ("a <tool_", "a <tool_", []),
        ("a\n\n<tool_call>{</tool_call>\n", "a\n\n<tool_call>{</tool_call>\n", []),
        ('a\n<tool_call>{"name"', 'a\n<tool_call>{"name"', []),
        (f"<tool_call>[]</tool_call>\n{OTHER}", "<tool_call>[]</tool_call>", [G]),
        ("</tool_call>", "</tool_call>", []),
        ("", "", []),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>", None, []),
    ],
)
def test_content_and_calls(
    text: str, content: str | None, calls: list[tuple[str, dict[str, object]]]
) -> None:
    wanted = [(index, name, arguments) for index, (name, arguments) in enumerate(calls)]
    splits = [[text]] if len(text) > 1000 else [[text], list(text)]
    for pieces in splits:
        found, deltas = parsed(pieces)
        assert found == (text if content is None else content)
        assert summary(deltas) == wanted
    assert len({delta.id for delta in deltas}) == len(calls)


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e400", r'"\ud800"'])
@pytest.mark.parametrize("field", ["name", "argument"])
def test_what_json_or_utf8_has_no_form_for_is_content(field: str, value: str) -> None:
    name, argument = (value, "1") if field == "name" else ('"f"', value)
    text = f'<tool_call>{{"name": {name}, "arguments": {{"x": {argument}}}}}</tool_call>'
    assert parsed([text]) == (text, [])


@given(st.lists(st.sampled_from(["<tool_call>", "</tool_call>", "{", "text", "\n", " ", "<"])))
def test_without_a_call_nothing_is_lost(parts: list[str]) -> None:
    text = "".join(parts)
    assert parsed(list(text)) == (text, [])


@given(st.text(alphabet="</>tol_ca\n x"))
def test_only_a_tag_or_line_ends_are_held_back(text: str) -> None:
    parser = ToolCallParser()
    content = "".join(parser.push(letter)[0] for letter in text)
    if "<tool_call>" not in text:
        held = text.removeprefix(content)
        assert "<tool_call>".startswith(held.lstrip("\n"))


@given(
    st.lists(
        st.sampled_from([CALL, OTHER, "<tool_call>", "</tool_call>", "{", "text", "\n", " ", "<"])
    ),
    st.lists(st.integers(1, 9), min_size=1),
)
def test_pieces_make_no_difference(parts: list[str], lengths: list[int]) -> None:
    text = "".join(parts)
    pieces, at = [], 0
    while at < len(text):
        length = lengths[len(pieces) % len(lengths)]
        pieces.append(text[at : at + length])
        at += length
    content, calls = parsed(pieces)
    whole_content, whole_calls = parsed([text])
    assert content == whole_content
    assert summary(calls) == summary(whole_calls)
