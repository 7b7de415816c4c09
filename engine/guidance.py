"""What a text must be: JSON, JSON of a schema, a match of a pattern, or one of some choices."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

_Kind = Literal["json_schema", "regex", "choice"]

# Between tokens of JSON. More would let a model that has nothing to say say it with spaces.
_WHITESPACE = r"[ \n]?"


@dataclass(frozen=True, slots=True)
class Guidance:
    """A form that generated text has to fit, and that ends it once nothing more fits.

    kind and value as the constructors below make them. Raises InvalidRequestError for a form that
    cannot be read, and ImportError where the library llguidance is not installed.
    """

    kind: _Kind
    value: str

    def __post_init__(self) -> None:
        from llguidance import LLMatcher

        if self.kind not in get_args(_Kind):
            msg = f"guidance: kind must be one of {', '.join(get_args(_Kind))}, got {self.kind!r}"
            raise InvalidRequestError(msg, parameter="guidance")
        try:
            error = LLMatcher.validate_grammar(self.grammar())
        except ValueError as refused:  # no JSON object, or text that has no UTF-8 form
            raise InvalidRequestError(f"guidance: {refused}", parameter="guidance") from refused
        if error:
            msg = f"guidance: {error.splitlines()[0]}"
            raise InvalidRequestError(msg, parameter="guidance")

    @classmethod
    def json_object(cls) -> Guidance:
        return cls.json_schema({"type": "object"})

    @classmethod
    def json_schema(cls, schema: dict[str, Any] | str) -> Guidance:
        """schema: a JSON Schema, as an object or as text."""
        if isinstance(schema, str):
            try:
                schema = json.loads(schema)
            except ValueError as error:
                msg = f"guidance: the schema is not JSON: {error}"
                raise InvalidRequestError(msg, parameter="guidance") from error
        return cls("json_schema", json.dumps(schema))

    @classmethod
    def regex(cls, pattern: str) -> Guidance:
        """The whole text matches the pattern."""
        return cls("regex", pattern)

    @classmethod
    def choice(cls, choices: Sequence[str]) -> Guidance:
        """The text is one of these."""
        if not choices or not all(isinstance(text, str) and text for text in choices):
            msg = "guidance: choices must be texts that are not empty, at least one"
            raise InvalidRequestError(msg, parameter="guidance")
        return cls("choice", json.dumps(list(choices)))

    def grammar(self) -> str:
        """In the form that llguidance compiles."""
        from llguidance import LLMatcher

        if self.kind == "json_schema":
            return LLMatcher.grammar_from_json_schema(
                self.value, defaults={"whitespace_pattern": _WHITESPACE}
            )
        if self.kind == "choice":
            texts = " | ".join(json.dumps(text) for text in json.loads(self.value))
            return LLMatcher.grammar_from_lark(f"start: {texts}")
        return LLMatcher.grammar_from_regex(self.value)
