"""Calls in text, however it is split into pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagegate.text.text_pieces import TextPieces
from stagegate.text.tool_calls import CLOSE, OPEN, ToolCallDelta, ToolCallParser

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": "</tool>", "y": [1, {}]}}\n</tool_call>'
OTHER = '<tool_call>{"name": "g"}</tool_call>'
F = ("f", '{"x": "</tool>", "y": [1, {}]}')
G = ("g", "{}")

Calls = list[tuple[str, str]]


def parsed(pieces: list[str], **options: Any) -> tuple[str, Calls, bool]:
    """Content, names with arguments, and whether the calls are complete."""
    parser = ToolCallParser(**options)
    content, calls = "", Called()
    for piece in pieces:
        text, deltas = parser.push(piece)
        content += text
        calls.add(deltas)
    text, deltas = parser.flush()
    calls.add(deltas)
    assert parser.num_calls == len(calls.calls)
    return content + text, calls.calls, parser.complete


class Called:
    """Calls put together from deltas."""

    def __init__(self) -> None:
        self.calls: Calls = []
        self._ids: set[str] = set()

    def add(self, deltas: list[ToolCallDelta]) -> None:
        for delta in deltas:
            if delta.name is not None:
                assert delta.index == len(self.calls)
                assert delta.arguments == ""
                assert delta.id is not None
                assert delta.id not in self._ids
                self._ids.add(delta.id)
                self.calls.append((delta.name, ""))
            else:
                assert delta.id is None
                assert delta.arguments
                assert delta.index == len(self.calls) - 1
                name, arguments = self.calls[-1]
                self.calls[-1] = (name, arguments + delta.arguments)


def call(arguments: str, *, name: str = "f") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        ("Plain text.\n", "Plain text.\n", []),
        (CALL, "", [F]),
        (f"I look.\n{CALL}", "I look.", [F]),
        (f"{CALL}\n{OTHER}\n", "", [F, G]),
        (f"{CALL}{OTHER}{CALL}", "", [F, G, F]),
        (f"{CALL}\n\nDone.\n", "Done.\n", [F]),
        (f"a\n\n{CALL} b {OTHER}", "ab ", [F, G]),
        ("", "", []),
        # JSON as other writers put it down
        ('<tool_call>{"arguments":{"x":1},"name":"f"}</tool_call>', "", [("f", '{"x":1}')]),
        ('<tool_call>{"name":"f","parameters":{"x":1}}</tool_call>', "", [("f", '{"x":1}')]),
        ('<tool_call>\n\n { "name" : "f" }\n\n</tool_call>', "", [("f", "{}")]),
        ('<tool_call>{"n\\u0061me": "\\u0066"}</tool_call>', "", [("f", "{}")]),
        (
            '<tool_call>{"id": "a}", "n": -1.5e3, "l": [{"name": "x"}], "t": true, "name": "f", '
            '"arguments": {}, "more": {"arguments": {"y": 1}}}</tool_call>',
            "",
            [("f", "{}")],
        ),
        (call('{\n  "x": 1\n}'), "", [("f", '{\n  "x": 1\n}')]),
        # What is no call
        ("</tool_call>", "</tool_call>", []),
        ("<tool_call>\n{broken}\n</tool_call>", "<tool_call>\n{broken}\n</tool_call>", []),
        ("<tool_call>[1]</tool_call>", "<tool_call>[1]</tool_call>", []),
        ("<tool_call>{}</tool_call>", "<tool_call>{}</tool_call>", []),
        ('<tool_call>{"name": 5}</tool_call>', '<tool_call>{"name": 5}</tool_call>', []),
        ('<tool_call>{"name": "f"</tool_call>', '<tool_call>{"name": "f"</tool_call>', []),
        (call("[]"), call("[]"), []),
        (call("null"), call("null"), []),
        (call('"{}"'), call('"{}"'), []),
        (
            '<tool_call>{"arguments": {"x": "</tool_call>"}}</tool_call>',
            '<tool_call>{"arguments": {"x": "</tool_call>"}}</tool_call>',
            [],
        ),
        ("a <tool_", "a <tool_", []),
        ("a\n\n<tool_call>{</tool_call>\n", "a\n\n<tool_call>{</tool_call>\n", []),
        (f"<tool_call>[]</tool_call>\n{OTHER}", "<tool_call>[]</tool_call>", [G]),
        (f"<tool_call>{CALL}", "<tool_call>", [F]),
        ('{"html": "<tool_call>{\\"name\\": 1}"}', '{"html": "<tool_call>{\\"name\\": 1}"}', []),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>", None, []),
        # Braces that are missing, or one too many
        ('<tool_call>{"name": "f", "arguments": {"x": 1}</tool_call>', "", [("f", '{"x": 1}')]),
        ('<tool_call>{"name": "f", "arguments": {"x": 1\n</tool_call>!', "!", [("f", '{"x": 1\n')]),
        ('<tool_call>{"name": "f", "arguments": {"x": 1</tool_', "", [("f", '{"x": 1')]),
        (f'<tool_call>{{"name": "f", "arguments": {{}}\n{OTHER}', "", [("f", "{}"), G]),
        (f"{call('{}}')}", "}\n</tool_call>", [("f", "{}")]),
    ],
)
def test_content_and_calls(text: str, content: str | None, calls: Calls) -> None:
    splits = [[text]] if len(text) > 1000 else [[text], list(text)]
    for pieces in splits:
        assert parsed(pieces) == (text if content is None else content, calls, True)


@pytest.mark.parametrize(
    "text",
    [
        *("</tool_call>", "<tool_call>", "</think>", "<think>", "}}", '\\"}}</tool_call>', "\\\\"),
        *('{\\"name\\": \\"g\\"}', "</tool_call>\\n<tool_call>", "é😀\\ud83d\\ude00"),
    ],
)
@pytest.mark.parametrize("place", ['{"x": "@"}', '{"@": 1}', '{"x": [["@"], {}]}'])
def test_in_strings_tags_and_braces_are_text(text: str, place: str) -> None:
    arguments = place.replace("@", text)
    json.loads(arguments)
    whole = f"before\n{call(arguments)}\n{OTHER}\nafter"
    wanted = ("beforeafter", [("f", arguments), G], True)
    assert parsed([whole]) == parsed(list(whole)) == wanted


def test_arguments_come_as_they_are_written() -> None:
    parser = ToolCallParser()
    assert parser.push('I look.\n<tool_call>\n{"name": "f", "argu') == ("I look.", [])
    content, [first, second] = parser.push('ments": {"x"')
    assert content == ""
    assert (first.index, first.name, first.arguments) == (0, "f", "")
    assert first.id is not None
    assert first.id.startswith("call_")
    assert second == ToolCallDelta(0, None, None, '{"x"')
    assert parser.push(': "<') == ("", [ToolCallDelta(0, None, None, ': "<')])
    assert parser.push('/tool_call>"}') == ("", [ToolCallDelta(0, None, None, '/tool_call>"}')])
    assert parser.push("}\n</tool_call>") == ("", [])
    assert parser.flush() == ("", [])


CUT = "So:\n" + call('{"x": "a}", "y": [1, 2]}')


@pytest.mark.parametrize("length", range(len("So:\n"), len(CUT)))
def test_a_call_that_is_cut_off(length: int) -> None:
    """From its whole name on it is a call with the arguments so far; less is content."""
    text = CUT[:length]
    name_end, arguments_at = CUT.index(', "arguments"'), CUT.index('{"x"')
    for pieces in ([text], list(text)):
        content, calls, complete = parsed(pieces)
        if length < name_end:
            assert (content, calls, complete) == (text, [], True)
        else:
            arguments_end = CUT.index("]}") + 2
            assert content == "So:"
            assert calls == [("f", CUT[arguments_at : min(length, arguments_end)])]
            assert complete == (length >= arguments_end)


@pytest.mark.parametrize("name", [None, "f"])
def test_a_forced_call_that_is_cut_off_is_never_content(name: str | None) -> None:
    text = call('{"x": 1}')
    name_end = text.index(', "arguments"')
    for length in range(1, len(text)):
        content, calls, complete = parsed(list(text[:length]), forced=True, name=name)
        assert content == ""
        if length < name_end:
            assert calls == ([] if name is None else [("f", "")])
            assert complete == (name is None)
        else:
            assert [called for called, _ in calls] == ["f"]
            assert '{"x": 1}'.startswith(calls[0][1])
    both = f"{text}\n{text}"
    for length in range(len(text), len(both)):
        content, calls, _ = parsed([both[:length]], forced=True, name=name)
        assert content == ""
        assert calls[0] == ("f", '{"x": 1}')


@pytest.mark.parametrize("written", ["NaN", "1e400", r'"\ud800"', '"a\nb"', "'a'", "[1}"])
def test_arguments_that_are_no_json_are_the_client_s_to_refuse(written: str) -> None:
    """They are being sent when that turns out."""
    arguments = f'{{"x": {written}}}'
    assert parsed(list(call(arguments)))[:2] == ("", [("f", arguments)])


@pytest.mark.parametrize("name", ['"\\ud800"', '"a\nb"', "NaN", '"\\x"'])
def test_a_name_that_json_or_utf8_has_no_form_for_is_content(name: str) -> None:
    text = f'<tool_call>{{"name": {name}, "arguments": {{}}}}</tool_call>'
    assert parsed([text]) == parsed(list(text)) == (text, [], True)


@given(st.lists(st.sampled_from(["<tool_call>", "</tool_call>", "{", "text", "\n", " ", "<"])))
def test_without_a_call_nothing_is_lost(parts: list[str]) -> None:
    text = "".join(parts)
    assert parsed(list(text)) == (text, [], True)


@given(st.text(alphabet="</>tol_ca\n x"))
def test_only_a_tag_or_line_ends_are_held_back(text: str) -> None:
    parser = ToolCallParser()
    content = "".join(parser.push(letter)[0] for letter in text)
    if "<tool_call>" not in text:
        held = text.removeprefix(content)
        assert "<tool_call>".startswith(held.lstrip("\n"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='<>/tolca_l{}[]"\\\n é'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(
    st.lists(
        st.dictionaries(st.text(alphabet='x</tool_call>"{}', max_size=20), VALUES), max_size=3
    ),
    st.lists(st.integers(1, 9), min_size=1),
    st.booleans(),
)
def test_any_json_arrives_as_it_was_written(
    all_arguments: list[dict[str, Any]], lengths: list[int], ascii_only: bool
) -> None:
    written = [json.dumps(arguments, ensure_ascii=ascii_only) for arguments in all_arguments]
    text = "\n".join(map(call, written))
    wanted = ("", [("f", arguments) for arguments in written], True)
    assert parsed(split(text, lengths)) == wanted


PARTS = [
    *(CALL, OTHER, "<tool_call>", "</tool_call>", "{", "}", "text", "\n", " ", "<", '"', "\\"),
    *('{"name": "f"', ', "arguments": {', '"arguments": {"x": ', ",", ':"'),
]


@given(st.lists(st.sampled_from(PARTS)), st.lists(st.integers(1, 9), min_size=1), st.booleans())
def test_pieces_make_no_difference(parts: list[str], lengths: list[int], forced: bool) -> None:
    text = "".join(parts)
    assert parsed(split(text, lengths), forced=forced) == parsed([text], forced=forced)


def split(text: str, lengths: list[int]) -> list[str]:
    pieces: list[str] = []
    at = 0
    while at < len(text):
        length = lengths[len(pieces) % len(lengths)]
        pieces.append(text[at : at + length])
        at += length
    return pieces


@pytest.mark.parametrize(
    "text",
    [
        call(json.dumps({"x": "ab" * 2000})),
        '<tool_call>{"arguments": ' + json.dumps({"x": "ab" * 2000}),
        f"{OPEN}{{" * 500,
        f"{OPEN}\n" * 500,
        "\n" * 5000,
        call("[" * 2000 + "<" * 2000),
        call('{"x": ' + "<" * 2000 + "</tool_call" * 100),
        OPEN + " " * 5000,
    ],
)
def test_a_piece_is_gone_through_once(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what came before, no more than the beginning of a tag is gone through again."""
    buffers: list[int] = []

    def add(self: TextPieces, piece: str) -> None:
        plain(self, piece)
        buffers.append(len(self.rest()))

    plain = TextPieces.add
    monkeypatch.setattr(TextPieces, "add", add)
    parsed(list(text))
    assert max(buffers) <= len(CLOSE)
