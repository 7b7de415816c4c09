"""JSON of a schema: the white space it may have, what closes its objects, what has no effect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stagegate.errors import InvalidRequestError
from stagegate.structured.grammar import Grammar
from suites.engine.grammar_reader import begins, fits

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
NESTED: dict[str, Any] = {
    "type": "object",
    "properties": {"name": TEXT, "tags": {"type": "array", "items": TEXT}, "in": {"$ref": "#"}},
}
DOCUMENT: dict[str, Any] = {"name": "é 说 😀 \\ \n", "tags": ["a", "b c"]}
for _ in range(5):
    DOCUMENT = {"name": "x", "tags": [], "in": DOCUMENT}


def properties(**schemas: Any) -> dict[str, Any]:
    return {"type": "object", "properties": schemas}


@pytest.mark.parametrize("schema", [NESTED, {"type": "object"}])
@pytest.mark.parametrize(
    "style",
    [
        {},
        {"separators": (",", ":")},
        {"indent": 1},
        {"indent": 2},
        {"indent": 4},
        {"indent": "\t"},
        {"indent": 0},
        {"indent": 2, "separators": (", ", ": ")},  # a blank at the end of each line
        {"ensure_ascii": False},
        {"ensure_ascii": False, "indent": 4},
    ],
)
def test_json_is_written_as_writers_of_json_do(
    schema: dict[str, Any], style: dict[str, Any]
) -> None:
    assert fits(Grammar.json_schema(schema), json.dumps(DOCUMENT, **style))


@pytest.mark.parametrize(
    ("before", "blank"),
    [
        ("{", "  "),
        ("{", "\t"),
        ("{", "\n\n"),
        ("{", "\n  \n"),
        ("{", "  \n"),
        ("{", "\r"),
        ("{", "\n" + " " * 33),
        ("{", "\n  \t"),
        ('{"tags": [', "\n" + "\t" * 17),
        ('{"tags": [', "  "),
        ('{"name"', "  "),
        ('{"name":', "\n\n"),
        ('{"name": "x"', "\n\n"),
        ('{"name": "x",', "  "),
        ("", " "),
        ("", "\n"),
        ("{}", " "),
        ("{}", "\n"),
    ],
)
def test_white_space_is_bounded(before: str, blank: str) -> None:
    grammar = Grammar.json_schema(NESTED)
    assert begins(grammar, before)
    assert not begins(grammar, before + blank)


def test_escapes_stand_for_characters() -> None:
    grammar = Grammar.json_schema(TEXT)
    assert fits(grammar, r'"\u00e9 \ud83d\ude00 \n \u0000"')
    for lone in (r'"\ud83d"', r'"\ude00"', r'"\ud83dx"'):
        assert not begins(grammar, lone)


BASE = {"$defs": {"Base": properties(a=NUMBER)}}
CLOSED: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    (properties(a=NUMBER), [{}, {"a": 1}], [{"b": 1}, {"a": 1, "b": 1}]),
    (properties(), [{}], [{"b": 1}]),
    ({"type": "object"}, [{}, {"b": 1}], []),
    ({"type": "object", "required": ["a"]}, [{"a": 1}, {"a": 1, "b": 1}], [{}]),
    ({**properties(), "required": ["a"]}, [{"a": 1}, {"a": "x"}], [{}, {"a": 1, "b": 1}]),
    ({**properties(a=NUMBER), "additionalProperties": True}, [{"a": 1, "b": 1}], []),
    ({**properties(a=NUMBER), "additionalProperties": NUMBER}, [{"b": 1}], [{"b": "x"}]),
    ({**properties(a=NUMBER), "patternProperties": {"^b": NUMBER}}, [{"b1": 1}, {"c": 1}], []),
    ({**properties(a=NUMBER), "unevaluatedProperties": False}, [{"a": 1}], [{"b": 1}]),
    ({"type": "object", "unevaluatedProperties": False}, [{}], [{"b": 1}]),
    ({**properties(a=NUMBER), "unevaluatedProperties": True}, [{"a": 1, "b": 1}], []),
    (properties(a=properties(b=NUMBER)), [{"a": {"b": 1}}], [{"a": {"c": 1}}]),
    ({"type": "array", "items": properties(a=NUMBER)}, [[{"a": 1}]], [[{"b": 1}]]),
    ({"type": "array", "prefixItems": [properties(a=NUMBER)]}, [[{"a": 1}]], [[{"b": 1}]]),
    (
        {"type": "object", "additionalProperties": properties(a=NUMBER)},
        [{"x": {"a": 1}}],
        [{"x": {"b": 1}}],
    ),
    ({**BASE, "$ref": "#/$defs/Base"}, [{"a": 1}], [{"b": 1}]),
    ({**BASE, "$ref": "#/$defs/Base", "description": "x"}, [{"a": 1}], [{"b": 1}]),
    (
        {"properties": {"p": {"$ref": "#/components/schemas/P"}}, "type": "object",
         "components": {"schemas": {"P": properties(a=NUMBER)}}},
        [{"p": {"a": 1}}],
        [{"p": {"b": 1}}],
    ),
    # Branches are closed one by one.
    (
        {"anyOf": [properties(a=NUMBER), properties(b=NUMBER)]},
        [{"a": 1}, {"b": 1}],
        [{"a": 1, "b": 1}, {"c": 1}],
    ),
    (
        {"anyOf": [{**properties(a=NUMBER), "additionalProperties": True}, properties(b=NUMBER)]},
        [{"a": 1, "z": 1}, {"b": 1}],
        [{"a": "x", "b": 1}],
    ),
    ({"anyOf": [{"$ref": "#/$defs/Base"}, {"type": "null"}], **BASE}, [{"a": 1}, None], [{"b": 1}]),
    # Parts of one object know of each other.
    (
        {"allOf": [properties(a=NUMBER), properties(b=NUMBER)]},
        [{}, {"a": 1, "b": 1}],
        [{"c": 1}, {"a": "x"}],
    ),
    ({"allOf": [{"$ref": "#/$defs/Base"}], "title": "x", **BASE}, [{"a": 1}], [{"b": 1}]),
    (
        {"allOf": [{"$ref": "#/$defs/Base"}, properties(b=NUMBER)], **BASE},
        [{"a": 1, "b": 2}],
        [{"a": 1, "c": 1}, {"a": "x"}],
    ),
    (
        {"allOf": [{"$ref": "#/$defs/Base"}], **properties(b=NUMBER), **BASE},
        [{"a": 1, "b": 2}],
        [{"a": 1, "c": 1}],
    ),
    ({"$ref": "#/$defs/Base", **properties(b=NUMBER), **BASE}, [{"a": 1, "b": 2}], [{"c": 1}]),
    (
        {"allOf": [{"$ref": "#/$defs/Base"}, {"required": ["b"]}], **BASE},
        [{"a": 1, "b": "x"}],
        [{"a": 1}, {"b": 1, "c": 1}],
    ),
    (
        {**properties(p=TEXT), "required": ["p"],
         "anyOf": [{**properties(a=NUMBER), "required": ["a"]},
                   {**properties(b=NUMBER), "required": ["b"]}]},
        [{"p": "x", "a": 1}, {"p": "x", "b": 1}],
        [{"p": "x"}, {"p": "x", "a": 1, "b": 1}, {"p": "x", "a": 1, "c": 1}],
    ),
    (
        {"allOf": [{"anyOf": [properties(a=NUMBER), properties(b=NUMBER)]}, properties(b=TEXT)]},
        [{"a": 1, "b": "x"}],
        [{"a": 1, "c": 1}],
    ),
    # One part that says more decides for all.
    (
        {"allOf": [{**properties(a=NUMBER), "additionalProperties": True}, properties(b=NUMBER)]},
        [{"a": 1, "b": 1, "c": 1}],
        [{"a": "x"}],
    ),
    (
        {"$ref": "#/$defs/Base", "additionalProperties": True, "required": ["z"], **BASE},
        [{"a": 1, "z": 1}],
        [{"a": 1}],
    ),
    # The same definition is closed where it stands alone.
    (
        {**properties(one={"$ref": "#/$defs/Base"},
                      two={"allOf": [{"$ref": "#/$defs/Base"}, properties(b=NUMBER)]}), **BASE},
        [{"one": {"a": 1}, "two": {"a": 1, "b": 1}}],
        [{"one": {"b": 1}}, {"two": {"c": 1}}],
    ),
    # Recursion through parts.
    (
        {"$ref": "#/$defs/Node",
         "$defs": {"Base": properties(a=NUMBER),
                   "Node": {"allOf": [{"$ref": "#/$defs/Base"},
                                      properties(sub={"$ref": "#/$defs/Node"})]}}},
        [{"a": 1, "sub": {"a": 2, "sub": {}}}],
        [{"sub": {"b": 1}}],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "fitting", "others"), CLOSED)
def test_an_object_has_no_properties_but_those_of_its_schema(
    schema: dict[str, Any], fitting: list[Any], others: list[Any]
) -> None:
    grammar = Grammar.json_schema(schema)
    assert [fits(grammar, json.dumps(document)) for document in fitting] == [True] * len(fitting)
    assert [fits(grammar, json.dumps(document)) for document in others] == [False] * len(others)


@pytest.mark.parametrize(
    ("schema", "documents"),
    [
        (properties(a=NUMBER), [{"a": 1, "b": 1}]),
        (properties(a=properties(b=NUMBER)), [{"a": {"c": 1}, "d": 1}]),
        ({"allOf": [{"$ref": "#/$defs/Base"}, properties(b=NUMBER)], **BASE}, [{"c": 1}]),
    ],
)
def test_an_open_schema_says_only_what_it_says(
    schema: dict[str, Any], documents: list[Any]
) -> None:
    grammar = Grammar.json_schema(schema, closed=False)
    assert all(fits(grammar, json.dumps(document)) for document in documents)
    never = Grammar.json_schema({**schema, "additionalProperties": False}, closed=False)
    assert not any(fits(never, json.dumps(document)) for document in documents)


@pytest.mark.parametrize(
    "annotations",
    [
        {"format": "password"}, {"format": "phone"}, {"uniqueItems": False}, {"examples": ["x"]},
        {"contentEncoding": "base64", "contentMediaType": "image/png"}, {"deprecated": True},
        {"readOnly": True, "writeOnly": False}, {"x-order": 3}, {"$comment": "x"}, {"title": "T"},
        {"example": {"uniqueItems": True}}, {"default": {"not": {}}}, {"nullable": True},
        {"discriminator": {"propertyName": "x"}}, {"xml": {"name": "x"}}, {"if": {}}, {"else": {}},
        {"unevaluatedItems": True}, {"propertyNames": {}}, {"not": False}, {"minContains": 2},
        {"dependentRequired": {}}, {"dependentSchemas": {}}, {"x-guidance": {"lenient": True}},
        {"$schema": "https://example.com/schema.json"}, {"$schema": "http://json-schema.org/schema#"},
        {"$schema": "http://json-schema.org/draft-07/schema#"}, {"$id": "https://example.com/a"},
    ],
)  # fmt: skip
def test_annotations_change_nothing(annotations: dict[str, Any]) -> None:
    for schema in (
        {**TEXT, **annotations},
        {"$ref": "#/$defs/S", "$defs": {"S": {**TEXT, **annotations}}},
    ):
        grammar = Grammar.json_schema(schema)
        assert fits(grammar, '"x"')
        assert not begins(grammar, "1")
    inside = Grammar.json_schema(properties(a={**TEXT, **annotations, "$id": "b"}))
    assert fits(inside, '{"a": "x"}')


def test_properties_may_be_named_like_keywords() -> None:
    names = ("format", "uniqueItems", "not", "$ref", "x-guidance", "if", "properties", "$schema")
    grammar = Grammar.json_schema({**properties(**dict.fromkeys(names, TEXT)), "required": names})
    assert fits(grammar, json.dumps(dict.fromkeys(names, "x")))
    assert not begins(grammar, '{"not"')


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "array", "uniqueItems": True}, '"uniqueItems" cannot be enforced'),
        (properties(a={"not": {}}), '"not" cannot be enforced'),
        ({"if": {}, "then": {}}, '"if", "then" cannot be enforced'),
        ({"type": "array", "contains": {}}, '"contains" cannot be enforced'),
        ({"type": "object", "propertyNames": {"pattern": "a"}}, '"propertyNames" cannot be'),
        ({"oneOf": [TEXT, {**TEXT, "maxLength": 4}]}, "oneOf cannot be enforced here; use anyOf"),
        ({"$ref": "https://example.com/a"}, "the reference 'https://example.com/a' leads out"),
        ({"$ref": "#/nowhere"}, "'/nowhere' does not exist"),
        ({"type": "nothing"}, "Invalid type: nothing"),
        ({**TEXT, "pattern": "^(?=a)b"}, r"\^\(\?=a\)b error: look-around, .* is not supported$"),
        ({**TEXT, "pattern": "("}, "regex parse error: .* error: unclosed group$"),
        ({"const": "\ud800"}, "surrogates not allowed"),
        ("[]", "must be a JSON object"),
        ("{", "is not JSON"),
        ('{"items":' * 50_000, "is not JSON"),
    ],
)
def test_what_cannot_be_enforced_is_refused_in_whole_sentences(
    schema: dict[str, Any] | str, message: str
) -> None:
    with pytest.raises(InvalidRequestError, match=f"^grammar: .*{message}") as refused:
        Grammar.json_schema(schema)
    assert "\n" not in str(refused.value)


def test_a_schema_nested_without_end_is_refused() -> None:
    schema: dict[str, Any] = TEXT
    for _ in range(3000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(InvalidRequestError, match="nested too deeply"):
        Grammar.json_schema(schema)


def test_parts_that_multiply_are_refused_soon() -> None:
    wide = {"allOf": [{"$ref": f"#/$defs/{index}"} for index in range(1500)]}
    definitions = {str(index): properties(**{f"p{index}": TEXT}) for index in range(1500)}
    with pytest.raises(InvalidRequestError, match="combines too many parts"):
        Grammar.json_schema({**wide, "$defs": definitions})


CAT = {**properties(kind={"const": "cat"}, lives=NUMBER), "required": ["kind"]}
DOG = {**properties(kind={"enum": ["dog", "wolf"]}, name=TEXT), "required": ["kind"]}


@pytest.mark.parametrize(
    "schema",
    [
        {"oneOf": [CAT, DOG]},
        {"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]},
        {"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}, {"type": "null"}]},
        {
            "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Other"}],
            "discriminator": {"propertyName": "kind"},
        },
    ],
)
def test_one_of_several_that_exclude_each_other(schema: dict[str, Any]) -> None:
    other = properties(kind={"enum": ["dog", "wolf"]}, name=TEXT)
    definitions = {"Cat": CAT, "Dog": DOG, "Other": other}
    grammar = Grammar.json_schema({**schema, "$defs": definitions})
    assert fits(grammar, '{"kind": "cat", "lives": 9}')
    assert fits(grammar, '{"kind": "wolf", "name": "x"}')
    assert not begins(grammar, '{"kind": "cat", "name"')
