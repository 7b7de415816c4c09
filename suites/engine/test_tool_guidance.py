"""Texts with calls: every form of reference in the parameters, behind reasoning, with tags."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stagegate.structured.guidance import Guidance
from stagegate.structured.tool_guidance import calls, calls_or_answer, text_then_call
from suites.engine.form_reader import FormReader, begins, fits, reader

PERSON = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}
ANSWER = {"type": "object", "properties": {"answer": {"enum": ["yes", "no"]}}}
TEXT_ANSWER = '{"answer": "yes"}'

# Each has P as parameter "p", by another reference.
REFERENCES: dict[str, dict[str, Any]] = {
    "defs": {"properties": {"p": {"$ref": "#/$defs/P"}}, "$defs": {"P": PERSON}},
    "definitions": {"properties": {"p": {"$ref": "#/definitions/P"}}, "definitions": {"P": PERSON}},
    "escaped": {"properties": {"p": {"$ref": "#/$defs/a~1b%20~0c"}}, "$defs": {"a/b ~c": PERSON}},
    "property": {"properties": {"p": PERSON, "q": {"$ref": "#/properties/p"}}},
    "items": {"properties": {"p": {"$ref": "#/properties/q/items"},
                             "q": {"type": "array", "items": PERSON}}},
    "anchor": {"properties": {"p": {"$ref": "#person"}},
               "$defs": {"P": {"$anchor": "person", **PERSON}}},
    "id": {"$id": "https://example.com/tool", "$defs": {"P": PERSON},
           "properties": {"p": {"$ref": "https://example.com/tool#/$defs/P"}}},
    "inner id": {"properties": {"p": {"$ref": "person.json"}}, "$id": "https://example.com/tool",
                 "$defs": {"P": {"$id": "person.json", **PERSON}}},
    "chain": {"properties": {"p": {"$ref": "#/$defs/Q"}},
              "$defs": {"Q": {"$ref": "#/$defs/P"}, "P": PERSON}},
    "all of": {"properties": {"p": {"allOf": [{"$ref": "#/$defs/P"}]}}, "$defs": {"P": PERSON}},
    "components": {"properties": {"p": {"$ref": "#/components/schemas/P"}},
                   "components": {"schemas": {"P": PERSON}}},
    "root": {"properties": {"p": PERSON, "sub": {"$ref": "#"}}},
}  # fmt: skip


def form(schema: dict[str, Any]) -> Guidance:
    return Guidance.json_schema({"type": "object", **schema})


def call(name: str, arguments: object) -> str:
    written = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{written}\n</tool_call>"


def opening(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}'


OTHERS = {"city": form(CITY), "now": form(NO_ARGUMENTS)}


@pytest.mark.parametrize("num_others", [0, 1, 2])
@pytest.mark.parametrize("reference", REFERENCES)
def test_references_are_from_the_root_of_their_own_schema(reference: str, num_others: int) -> None:
    others = dict(list(OTHERS.items())[:num_others])
    person = form(REFERENCES[reference])
    for tools in ({"f": person, **others}, {**others, "f": person}):
        for guidance in (
            calls(tools, parallel=True),
            calls(tools, parallel=False),
            calls_or_answer(tools, form(ANSWER), parallel=True),
            calls_or_answer(tools, person, parallel=False),
            text_then_call(tools, reasoning=False),
        ):
            assert fits(guidance, call("f", {"p": {"age": 7}}))
            assert begins(guidance, opening("f", '{"p": {"age": 1'))
            assert not begins(guidance, opening("f", '{"p": {"age": "'))
            assert not begins(guidance, opening("f", '{"p": 1'))


def test_tools_may_define_a_name_differently() -> None:
    def taking(schema: dict[str, Any]) -> Guidance:
        return form({"properties": {"p": {"$ref": "#/$defs/P"}}, "$defs": {"P": schema}})

    guidance = calls({"f": taking(PERSON), "g": taking(CITY)}, parallel=True)
    assert fits(guidance, call("f", {"p": {"age": 1}}) + "\n" + call("g", {"p": {"city": "x"}}))
    assert not begins(guidance, opening("f", '{"p": {"city"'))
    assert not begins(guidance, opening("g", '{"p": {"age"'))


TOOLS = {"f": form(CITY), "foo": form(PERSON), "now": form(NO_ARGUMENTS)}
TAGGED = call("f", {"city": "</tool_call> </think> <tool_call>\n{"})
FIRST, SECOND = call("foo", {"age": 7}), call("f", {"city": "Köln 说 😀"})


@pytest.mark.parametrize("tags", [False, None])
def test_forced_calls(tags: bool | None) -> None:
    one, more = calls(TOOLS, parallel=False), calls(TOOLS, parallel=True)
    for text in (FIRST, SECOND, TAGGED, call("now", {})):
        for guidance in (one, more):
            assert fits(guidance, text, tags)
            assert not begins(guidance, f"{text}\n\n", tags)
            assert not begins(guidance, f"{text}<", tags)
        assert not begins(one, f"{text}\n", tags)
        assert fits(more, f"{text}\n{FIRST}\n{SECOND}", tags)
    for text in ("", "F", "\n", '{"', "<tool_call>{", opening("g", ""), call("now", {"a": 1})):
        assert not fits(more, text, tags)
    indented = json.dumps({"city": "x"}, indent=2)
    assert fits(one, f'<tool_call>\n{{"name": "f", "arguments": {indented}}}\n</tool_call>', tags)


@pytest.mark.parametrize("tags", [False, None])
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (form(ANSWER), TEXT_ANSWER),
        (Guidance.regex("[0-9]{3}"), "123"),
        (Guidance.choice(["yes", "no"]), "no"),
        (Guidance.grammar('start: "a" b\nb: /[xy]+/'), "axyx"),
    ],
)
def test_calls_or_an_answer(answer: Guidance, text: str, parallel: bool, tags: bool | None) -> None:
    guidance = calls_or_answer(TOOLS, answer, parallel=parallel)
    for fitting in (text, FIRST, TAGGED):
        assert fits(guidance, fitting, tags)
    assert fits(guidance, f"{FIRST}\n{SECOND}", tags) == parallel
    for other in (text + FIRST, text + "\n", FIRST + text, f"{FIRST}\n{text}", "Hello"):
        assert not begins(guidance, other, tags)


@pytest.mark.parametrize("tags", [False, None])
def test_text_ends_with_its_first_call(tags: bool | None) -> None:
    guidance = text_then_call(TOOLS, reasoning=False)
    for before in ("", "Let me see: <tool_cal> </tool_call>\n\n", "<think>x</think>", "说 é 😀\t"):
        assert fits(guidance, before, tags)
        for text in (FIRST, SECOND, TAGGED):
            assert fits(guidance, before + text, tags)
            assert not begins(guidance, f"{before}{text}\n", tags)
            assert not begins(guidance, f"{before}{text}x", tags)
        assert not begins(guidance, f"{before}<tool_call>x", tags)
        assert not fits(guidance, f"{before}<tool_call>\n", tags)


THOUGHT = 'I could <tool_call> {"a": 1} or <think> "so"\n\t说 😀'


@pytest.mark.parametrize("tags", [False, None])
@pytest.mark.parametrize("line_ends", ["", "\n", "\n\n"])
@pytest.mark.parametrize(
    ("guidance", "text"),
    [
        (form(ANSWER), TEXT_ANSWER),
        (Guidance.json_schema({"type": "string"}), '"</think>"'),
        (Guidance.json_object(), '{"a": "<think>x</think>y"}'),
        (Guidance.regex("[a-z]+"), "abc"),
        (Guidance.choice(["yes", "</think>", "<t"]), "</think>"),
        (Guidance.grammar('root ::= "a" [xy]+'), "axy"),
        (calls(TOOLS, parallel=True), f"{TAGGED}\n{FIRST}"),
        (calls(TOOLS, parallel=False), SECOND),
        (calls_or_answer(TOOLS, form(ANSWER), parallel=True), TAGGED),
        (calls_or_answer(TOOLS, form(ANSWER), parallel=True), TEXT_ANSWER),
        (text_then_call(TOOLS, reasoning=True), TAGGED),
        (text_then_call(TOOLS, reasoning=True), "Hello <think>"),
    ],
)
def test_any_form_may_come_behind_reasoning(
    guidance: Guidance, text: str, line_ends: str, tags: bool | None
) -> None:
    begun = guidance.after_reasoning(begun=True)
    optional = guidance.after_reasoning(begun=False)
    closed = f"{THOUGHT}</think>{line_ends}"
    for thinking in (begun, optional):
        opened = closed if thinking is begun else f"<think>{closed}"
        assert fits(thinking, opened + text, tags)
        assert not fits(thinking, opened[: len(opened) - len(line_ends) - 3], tags)
    assert fits(optional, text, tags)
    assert not fits(begun, "Hello", tags)


def test_line_ends_behind_reasoning_are_bounded() -> None:
    guidance = form(ANSWER).after_reasoning(begun=True)
    assert begins(guidance, "so</think>\n\n\n{")
    assert not begins(guidance, "so</think>\n\n\n\n")
    assert not begins(guidance, "so</think> {")


def test_a_text_that_is_not_reasoning_has_no_tag() -> None:
    """Without reasoning a form is what it was: the open tag is no way around it."""
    for guidance in (form(ANSWER), calls(TOOLS, parallel=True)):
        assert not begins(guidance, "<think>")
        assert not begins(guidance.after_reasoning(begun=True), "x</think>\n\n<think>")


@pytest.mark.parametrize("optional", [False, True])
def test_special_tags_are_single_tokens_where_the_text_keeps_them(optional: bool) -> None:
    reads = reader(tags=True)
    guidance = calls(TOOLS, parallel=False).after_reasoning(begun=not optional)
    text = f"{'<think>' if optional else ''}so</think>\n\n{TAGGED}"
    token_ids = reads.tokenizer.encode(text, add_special_tokens=False)
    assert sum(map(reads.tokenizer.is_special, token_ids)) >= 3
    guide = reads.read(guidance, text)
    assert guide is not None
    assert guide.finished


def test_special_tags_are_written_out_where_the_text_leaves_them_out() -> None:
    reads = FormReader(tags=True)
    pieces = FormReader(tags=None)
    guidance = calls(TOOLS, parallel=False).after_reasoning(begun=False)
    assert reads.read(guidance, FIRST, special_tags=True) is None
    guide = reads.maker.make(guidance, special_tags=True)
    for token_id in pieces.tokenizer.encode(f"<think>so</think>{FIRST}"):
        guide.accept(token_id)  # the tokens of bytes are the same
        assert guide.error is None
    assert guide.finished
