"""Rewriting of a JSON Schema so that generation can enforce it."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

from stagegate.errors import InvalidRequestError
from stagegate.structured.schema_references import References, with_subschemas

Schema = dict[str, Any]
Names = frozenset[str]

_ENFORCED_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
)
_KNOWN_DRAFTS = ("http://json-schema.org/draft-", "https://json-schema.org/draft/")
# What llguidance would read as its own options, and where this module puts schemas.
_RESERVED = ("x-guidance", "x-parts")
# Values with which a keyword that the library refuses allows everything.
_ALLOW_ALL: dict[str, tuple[Any, ...]] = {
    "uniqueItems": (False,),
    "not": (False,),
    "propertyNames": (True, {}),
    "unevaluatedProperties": (True, {}),
    "unevaluatedItems": (True, {}),
    "dependentRequired": ({},),
    "dependentSchemas": ({},),
    "dependencies": ({},),
}
# Keywords without effect unless one of these is beside them.
_NEEDED: dict[str, tuple[str, ...]] = {
    "if": ("then", "else"),
    "then": ("if",),
    "else": ("if",),
    "minContains": ("contains",),
    "maxContains": ("contains",),
}
_MAX_BRANCHES = 256
_MAX_WORK = 200_000
# Keywords whose schemas describe the same value as the schema they are in.
_IN_PLACE = ("allOf", "anyOf", "oneOf")


def enforceable(schema: Schema, *, closed: bool) -> Schema:
    """The same schema without keywords that have no effect, and with its objects closed.

    Of a keyword that JSON Schema makes an annotation (an unknown `format` or `$schema`), or whose
    value allows everything (`uniqueItems: false`), nothing is left; what else the library cannot
    keep to, it refuses.

    closed: an object that lists `properties` and does not say what else it may have gets nothing
    else. Where parts describe one object together (allOf, anyOf, oneOf, a reference beside other
    keywords), each allows what the others list, and one that says more decides for all of them. A
    schema with parts that have an `$id` of their own is left open.

    `oneOf` becomes `anyOf` where nothing fits two branches: their types differ, a property that
    all require has another constant in each, or OpenAPI's `discriminator` tells them apart.
    """
    return _Rewriting(schema, closed=closed).whole()


class _Rewriting:
    """Rewrites one schema.

    known, throughout: properties that other parts of the same object list; None leaves it open.
    """

    def __init__(self, root: Schema, *, closed: bool) -> None:
        self._root = root
        self._references = References(root)
        closed = closed and not self._references.has_resources
        self._alone: Names | None = frozenset() if closed else None
        # What a reference stands for where it is a part among others.
        self._part_names: dict[tuple[str, Names | None], str] = {}
        self._parts: dict[str, Schema] = {}
        self._work = 0

    def whole(self) -> Schema:
        rewritten = self._schema(self._root, self._alone)
        return {**rewritten, "x-parts": self._parts} if self._parts else rewritten

    def _schema(self, schema: Schema, known: Names | None) -> Schema:
        composed = known is not None and (known or _num_parts(schema) > 1)
        all_known = self._together(known, schema) if composed else known
        changed: Schema = {}
        for keyword, value in schema.items():
            if keyword in _IN_PLACE and isinstance(value, list):
                changed[self._one_or_any(schema, keyword)] = [
                    self._in_place(part, self._beside(schema, keyword, index, known, all_known))
                    for index, part in enumerate(value)
                ]
            elif keyword == "$ref":
                beside = self._beside(schema, keyword, None, known, all_known)
                changed[keyword] = self._reference(value, beside)
            elif not _has_no_effect(schema, keyword, value):
                changed[keyword] = with_subschemas(keyword, value, self._nested)
        if all_known is not None and _lists(schema) and not _decides(schema):
            others = (all_known | _required(schema)) - _listed(schema).keys()
            listed = _listed(changed) | dict.fromkeys(sorted(others), True)
            changed |= {"properties": listed, "additionalProperties": False}
            changed.pop("unevaluatedProperties", None)
        return changed

    def _nested(self, schema: Any) -> Any:
        return self._in_place(schema, self._alone)

    def _in_place(self, part: Any, known: Names | None) -> Any:
        return self._schema(part, known) if isinstance(part, dict) else part

    def _beside(
        self,
        schema: Schema,
        keyword: str,
        index: int | None,
        known: Names | None,
        all_known: Names | None,
    ) -> Names | None:
        """What one part may have besides its own: branches do not allow what other branches do."""
        if all_known is None:
            return None
        others = {name: value for name, value in schema.items() if name != keyword}
        if keyword == "allOf":
            others[keyword] = [part for at, part in enumerate(schema[keyword]) if at != index]
        return self._together(known, others)

    def _reference(self, reference: Any, known: Names | None) -> Any:
        """One that is alone leads to its closed target; among other parts, to one of its own."""
        target = None if known == self._alone else self._references.target(reference)
        if target is None:
            return reference
        key = reference, known
        if key not in self._part_names:
            name = self._part_names[key] = str(len(self._part_names))
            self._parts[name] = self._schema(target, known)
        return f"#/x-parts/{self._part_names[key]}"

    def _together(self, known: Names | None, schema: Schema) -> Names | None:
        """known and what the parts of an object list; None where one of them decides itself."""
        names: set[str] = set(known or ())
        seen: set[str] = set()
        waiting: list[Any] = [schema]
        while waiting:
            self._work += 1
            if self._work > _MAX_WORK:
                msg = "grammar: the schema combines too many parts"
                raise InvalidRequestError(msg, parameter="grammar")
            part = waiting.pop()
            if not isinstance(part, dict):
                continue
            if _decides(part):
                return None
            names |= _required(part) | _listed(part).keys()
            waiting += [member for keyword in _IN_PLACE for member in _members(part, keyword)]
            reference = part.get("$ref")
            if isinstance(reference, str) and reference not in seen:
                seen.add(reference)
                target = self._references.target(reference)
                if target is None:
                    return None
                waiting.append(target)
        return frozenset(names)

    def _one_or_any(self, schema: Schema, keyword: str) -> str:
        if keyword != "oneOf" or "anyOf" in schema:
            return keyword
        branches = [self._resolved(branch) for branch in schema[keyword]]
        told_apart = "discriminator" in schema or (
            len(branches) <= _MAX_BRANCHES
            and all(_exclude_each_other(a, b) for a, b in combinations(branches, 2))
        )
        return "anyOf" if told_apart else keyword

    def _resolved(self, schema: Any) -> Schema:
        seen: set[str] = set()
        while isinstance(schema, dict) and isinstance(schema.get("$ref"), str):
            if schema["$ref"] in seen:
                return {}
            seen.add(schema["$ref"])
            schema = self._references.target(schema["$ref"])
        found: Schema = schema if isinstance(schema, dict) else {}
        return found


def _listed(schema: Schema) -> Schema:
    properties = schema.get("properties")
    return properties if isinstance(properties, dict) else {}


def _lists(schema: Schema) -> bool:
    """Whether the schema says which properties there are."""
    listed = isinstance(schema.get("properties"), dict)
    return listed or schema.get("unevaluatedProperties") is False


def _decides(schema: Schema) -> bool:
    """Whether the schema says what there may be besides its `properties`."""
    stated = "additionalProperties" in schema or "patternProperties" in schema
    return stated or schema.get("unevaluatedProperties", False) is not False


def _required(schema: Schema) -> Names:
    return frozenset(filter(_is_text, _members(schema, "required")))


def _members(schema: Schema, keyword: str) -> list[Any]:
    members = schema.get(keyword)
    return members if isinstance(members, list) else []


def _num_parts(schema: Schema) -> int:
    others = sum(keyword in schema for keyword in ("anyOf", "oneOf", "$ref"))
    return len(_members(schema, "allOf")) + others + _lists(schema)


def _has_no_effect(schema: Schema, keyword: str, value: Any) -> bool:
    if keyword == "format":
        return isinstance(value, str) and value not in _ENFORCED_FORMATS
    if keyword == "$schema":
        return not isinstance(value, str) or not value.startswith(_KNOWN_DRAFTS)
    if keyword in _RESERVED:
        return True
    if keyword in _NEEDED and not any(needed in schema for needed in _NEEDED[keyword]):
        return True
    return any(value is all_ or value == all_ == {} for all_ in _ALLOW_ALL.get(keyword, ()))


def _exclude_each_other(one: Schema, other: Schema) -> bool:
    """Whether no JSON fits both, as far as types and constants tell."""
    types = _types(one), _types(other)
    if types[0] and types[1] and not types[0] & types[1]:
        return True
    if types != ({"object"}, {"object"}):
        return False
    for name in _required(one) & _required(other):
        constants = _constants(one, name), _constants(other, name)
        if constants[0] and constants[1] and not constants[0] & constants[1]:
            return True
    return False


def _types(schema: Schema) -> set[str]:
    stated = schema.get("type")
    types = [stated] if isinstance(stated, str) else _members(schema, "type")
    return {"number" if name == "integer" else name for name in types if _is_text(name)}


def _constants(schema: Schema, name: str) -> set[str]:
    """The values that a property may have, as JSON; empty where any may be."""
    stated = _listed(schema).get(name)
    if not isinstance(stated, dict):
        return set()
    values = [stated["const"]] if "const" in stated else _members(stated, "enum")
    return {json.dumps(value, sort_keys=True) for value in values}


def _is_text(value: object) -> bool:
    return isinstance(value, str)
