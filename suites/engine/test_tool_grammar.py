"""Texts with calls: every kind of reference in the parameters, behind reasoning, with tags."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stagegate.structured.grammar import Grammar
from stagegate.structured.tool_grammar import calls, calls_or_answer, text_then_call
from suites.engine.grammar_reader import GrammarReader, begins, fits, reader

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


def grammar_of(schema: dict[str, Any]) -> Grammar:
    return Grammar.json_schema({"type": "object", **schema})


def call(name: str, arguments: object) -> str:
    written = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{written}\n</tool_call>"


def opening(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}'


OTHERS = {"city": grammar_of(CITY), "now": grammar_of(NO_ARGUMENTS)}


@pytest.mark.parametrize("num_others", [0, 1, 2])
@pytest.mark.parametrize("reference", REFERENCES)
def test_references_are_from_the_root_of_their_own_schema(reference: str, num_others: int) -> None:
    others = dict(list(OTHERS.items())[:num_others])
    person = grammar_of(REFERENCES[reference])
    for tools in ({"f": person, **others}, {**others, "f": person}):
        for grammar in (
            calls(tools, parallel=True),
            calls(tools, parallel=False),
            calls_or_answer(tools, grammar_of(ANSWER), parallel=True),
            calls_or_answer(tools, person, parallel=False),
            text_then_call(tools, reasoning=False),
        ):
            assert fits(grammar, call("f", {"p": {"age": 7}}))
            assert begins(grammar, opening("f", '{"p": {"age": 1'))
            assert not begins(grammar, opening("f", '{"p": {"age": "'))
            assert not begins(grammar, opening("f", '{"p": 1'))


def test_tools_may_define_a_name_differently() -> None:
    def taking(schema: dict[str, Any]) -> Grammar:
        return grammar_of({"properties": {"p": {"$ref": "#/$defs/P"}}, "$defs": {"P": schema}})

    grammar = calls({"f": taking(PERSON), "g": taking(CITY)}, parallel=True)
    assert fits(grammar, call("f", {"p": {"age": 1}}) + "\n" + call("g", {"p": {"city": "x"}}))
    assert not begins(grammar, opening("f", '{"p": {"city"'))
    assert not begins(grammar, opening("g", '{"p": {"age"'))


TOOLS = {"f": grammar_of(CITY), "foo": grammar_of(PERSON), "now": grammar_of(NO_ARGUMENTS)}
TAGGED = call("f", {"city": "</tool_call> </think> <tool_call>\n{"})
FIRST, SECOND = call("foo", {"age": 7}), call("f", {"city": "Köln 说 😀"})


@pytest.mark.parametrize("tags", [False, None])
def test_forced_calls(tags: bool | None) -> None:
    one, more = calls(TOOLS, parallel=False), calls(TOOLS, parallel=True)
    for text in (FIRST, SECOND, TAGGED, call("now", {})):
        for grammar in (one, more):
            assert fits(grammar, text, tags)
            assert not begins(grammar, f"{text}\n\n", tags)
            assert not begins(grammar, f"{text}<", tags)
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
        (grammar_of(ANSWER), TEXT_ANSWER),
        (Grammar.regex("[0-9]{3}"), "123"),
        (Grammar.choice(["yes", "no"]), "no"),
        (Grammar.context_free('start: "a" b\nb: /[xy]+/'), "axyx"),
    ],
)
def test_calls_or_an_answer(answer: Grammar, text: str, parallel: bool, tags: bool | None) -> None:
    grammar = calls_or_answer(TOOLS, answer, parallel=parallel)
    for fitting in (text, FIRST, TAGGED):
        assert fits(grammar, fitting, tags)
    assert fits(grammar, f"{FIRST}\n{SECOND}", tags) == parallel
    for other in (text + FIRST, text + "\n", FIRST + text, f"{FIRST}\n{text}", "Hello"):
        assert not begins(grammar, other, tags)


@pytest.mark.parametrize("tags", [False, None])
def test_text_ends_with_its_first_call(tags: bool | None) -> None:
    grammar = text_then_call(TOOLS, reasoning=False)
    for before in ("", "Let me see: <tool_cal> </tool_call>\n\n", "<think>x</think>", "说 é 😀\t"):
        assert fits(grammar, before, tags)
        for text in (FIRST, SECOND, TAGGED):
            assert fits(grammar, before + text, tags)
            assert not begins(grammar, f"{before}{text}\n", tags)
            assert not begins(grammar, f"{before}{text}x", tags)
        assert not begins(grammar, f"{before}<tool_call>x", tags)
        assert not fits(grammar, f"{before}<tool_call>\n", tags)


THOUGHT = 'I could <tool_call> {"a": 1} or <think> "so"\n\t说 😀'


@pytest.mark.parametrize("tags", [False, None])
@pytest.mark.parametrize("line_ends", ["", "\n", "\n\n"])
@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        (grammar_of(ANSWER), TEXT_ANSWER),
        (Grammar.json_schema({"type": "string"}), '"</think>"'),
        (Grammar.json_object(), '{"a": "<think>x</think>y"}'),
        (Grammar.regex("[a-z]+"), "abc"),
        (Grammar.choice(["yes", "</think>", "<t"]), "</think>"),
        (Grammar.context_free('root ::= "a" [xy]+'), "axy"),
        (calls(TOOLS, parallel=True), f"{TAGGED}\n{FIRST}"),
        (calls(TOOLS, parallel=False), SECOND),
        (calls_or_answer(TOOLS, grammar_of(ANSWER), parallel=True), TAGGED),
        (calls_or_answer(TOOLS, grammar_of(ANSWER), parallel=True), TEXT_ANSWER),
        (text_then_call(TOOLS, reasoning=True), TAGGED),
        (text_then_call(TOOLS, reasoning=True), "Hello <think>"),
    ],
)
def test_any_grammar_may_follow_reasoning(
    grammar: Grammar, text: str, line_ends: str, tags: bool | None
) -> None:
    begun = grammar.after_reasoning(begun=True)
    optional = grammar.after_reasoning(begun=False)
    closed = f"{THOUGHT}</think>{line_ends}"
    for thinking in (begun, optional):
        opened = closed if thinking is begun else f"<think>{closed}"
        assert fits(thinking, opened + text, tags)
        assert not fits(thinking, opened[: len(opened) - len(line_ends) - 3], tags)
    assert fits(optional, text, tags)
    assert not fits(begun, "Hello", tags)


def test_line_ends_behind_reasoning_are_bounded() -> None:
    grammar = grammar_of(ANSWER).after_reasoning(begun=True)
    assert begins(grammar, "so</think>\n\n\n{")
    assert not begins(grammar, "so</think>\n\n\n\n")
    assert not begins(grammar, "so</think> {")


def test_a_text_that_is_not_reasoning_has_no_tag() -> None:
    """Without reasoning a grammar is unchanged: the open tag does not bypass it."""
    for grammar in (grammar_of(ANSWER), calls(TOOLS, parallel=True)):
        assert not begins(grammar, "<think>")
        assert not begins(grammar.after_reasoning(begun=True), "x</think>\n\n<think>")


@pytest.mark.parametrize("optional", [False, True])
def test_special_tags_are_single_tokens_where_the_text_keeps_them(optional: bool) -> None:
    reads = reader(tags=True)
    grammar = calls(TOOLS, parallel=False).after_reasoning(begun=not optional)
    text = f"{'<think>' if optional else ''}so</think>\n\n{TAGGED}"
    token_ids = reads.tokenizer.encode(text, add_special_tokens=False)
    assert sum(map(reads.tokenizer.is_special, token_ids)) >= 3
    matcher = reads.read(grammar, text)
    assert matcher is not None
    assert matcher.finished


def test_special_tags_are_written_out_where_the_text_leaves_them_out() -> None:
    reads = GrammarReader(tags=True)
    pieces = GrammarReader(tags=None)
    grammar = calls(TOOLS, parallel=False).after_reasoning(begun=False)
    assert reads.read(grammar, FIRST, special_tags=True) is None
    matcher = reads.compiler.matcher(grammar, special_tags=True)
    for token_id in pieces.tokenizer.encode(f"<think>so</think>{FIRST}"):
        matcher.accept(token_id)  # the tokens of bytes are the same
        assert matcher.error is None
    assert matcher.finished
