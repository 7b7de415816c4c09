"""Error messages for invalid bodies: the field, what it must be, and the value received."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_SHOWN_SENTENCES = 3
_SHOWN_CHARACTERS = 60

# The required value for each kind of pydantic error.
_WANTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of less than 4300 digits",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_too_short": "text of {min_length} or more characters",
    "string_too_long": "text of {max_length} or fewer characters",
    "string_pattern_mismatch": "text that matches {pattern}",
}


Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class _Problem:
    """One of pydantic's errors, located in the body.

    path: of the wrong field. value: its value, or the parent of a missing field.
    branches: for the path of each type with alternatives, the alternative that was tried.
    """

    path: Path
    value: Any
    branches: dict[Path, str | int]
    error: Mapping[str, Any]

    @property
    def progress(self) -> tuple[list[int], int]:
        """The depth in the value up to which the alternative matched."""
        return [part for part in self.path if isinstance(part, int)], len(self.path)


def refusal(errors: Sequence[Mapping[str, Any]], body: object) -> tuple[str, str | None]:
    """The message for pydantic's errors on a body, and the name of the wrong field."""
    groups = list(_groups([_find(error, body) for error in errors]))
    message = "; ".join(map(_sentence, groups[:_SHOWN_SENTENCES]))
    if len(groups) > _SHOWN_SENTENCES:
        message += f"; and {len(groups) - _SHOWN_SENTENCES} more"
    return message, _name(groups[0][0].path) or None


def _find(error: Mapping[str, Any], body: object) -> _Problem:
    """pydantic's path has names of types in it where there are alternatives: they are what is not
    found in the body, but for the name of a missing field."""
    path: list[str | int] = []
    branches: dict[Path, str | int] = {}
    missing = error["loc"][1:][-1:] if error["type"] == "missing" else ()
    for part in error["loc"][1 : len(error["loc"]) - len(missing)]:
        if (isinstance(body, dict) and part in body) or (
            isinstance(body, list) and isinstance(part, int) and part < len(body)
        ):
            path.append(part)
            body = body[part]
        else:
            branches.setdefault(tuple(path), part)
    return _Problem((*path, *missing), body, branches, error)


def _groups(problems: Sequence[_Problem]) -> Iterator[list[_Problem]]:
    """Problems that make one sentence: one each, but for the alternatives of a type, of which those
    count that fitted the most of the value."""
    alternatives: dict[Path, list[_Problem]] = {}
    for problem in problems:
        for union in problem.branches:
            alternatives.setdefault(union, []).append(problem)
    # A message by its role has one branch: what its role says.
    unions = {
        union
        for union, rivals in alternatives.items()
        if len({rival.branches[union] for rival in rivals}) > 1
    }
    for problem in problems:
        tried = [alternatives[path] for path in problem.branches if path in unions]
        rivals = tried[0] if tried else [problem]
        if problem is rivals[0]:
            best = max(rivals, key=lambda rival: rival.progress)
            yield [rival for rival in rivals if rival.path == best.path]


def _sentence(group: Sequence[_Problem]) -> str:
    first = group[0]
    name, got = _name(first.path), _quoted(first.value)
    if first.error["type"] == "json_invalid":
        place = first.error["loc"][1]
        return f"the body is not JSON: {first.error['ctx']['error']} at character {place}"
    if not name:
        return "the body must be a JSON object with content type application/json"
    if first.error["type"] == "missing":
        return f"{name} is missing"
    if first.error["type"] == "extra_forbidden":
        return f"unknown or unsupported field {name!r}, got {got}"
    if first.error["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        return _tag_sentence(name, got, first.error["ctx"])
    *others, last = dict.fromkeys(_wanted(problem.error) for problem in group)
    if others:
        listed = ", ".join(others).replace(" or ", ", ")
        last = f"{listed} or {last}"
    return f"{name} must be {last}, got {got}"


def _tag_sentence(name: str, got: str, ctx: Mapping[str, Any]) -> str:
    """For an object whose type is given by one of its fields, such as the role of a message."""
    tag = ctx["discriminator"].strip("'")
    if "tag" not in ctx:
        return f"{name}.{tag} is missing, got {got}"
    return f"{name}.{tag} must be one of {ctx['expected_tags']}, got {_quoted(ctx['tag'])}"


def _wanted(error: Mapping[str, Any]) -> str:
    ctx = error.get("ctx", {})
    if error["type"] in _WANTED:
        return _WANTED[error["type"]].format(
            **{
                name: f"{limit:g}" if isinstance(limit, float) else limit
                for name, limit in ctx.items()
            }
        )
    if error["type"] == "literal_error":
        expected: str = ctx["expected"]
        return {"True": "true", "False": "false"}.get(expected, expected)
    if error["type"] in {"too_long", "too_short"}:
        kind = "a list" if ctx["field_type"] == "List" else "an object"
        if ctx.get("max_length") == 0:
            return "empty"
        bound, count = (
            ("at least", ctx["min_length"])
            if error["type"] == "too_short"
            else ("at most", ctx["max_length"])
        )
        return f"{kind} with {bound} {count} {'item' if count == 1 else 'items'}"
    message: str = error["msg"]
    return message.removeprefix("Value error, ").removeprefix("must be ")


def _name(path: Sequence[str | int]) -> str:
    return ".".join(map(str, path))


def _quoted(value: object) -> str:
    """A value as JSON, truncated."""
    if isinstance(value, str | list | dict):
        value = _shortened(value, depth=3)
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _shortened(value: Any, *, depth: int) -> Any:
    """The part of a value needed to quote its beginning; a body may be large and deeply nested."""
    if isinstance(value, str):
        return value[: _SHOWN_CHARACTERS + 1]
    if isinstance(value, list):
        kept = value[:_SHOWN_CHARACTERS] if depth else []
        return [_shortened(item, depth=depth - 1) for item in kept]
    if isinstance(value, dict):
        items = list(value.items())[:_SHOWN_CHARACTERS] if depth else []
        return {key[:_SHOWN_CHARACTERS]: _shortened(item, depth=depth - 1) for key, item in items}
    return value
