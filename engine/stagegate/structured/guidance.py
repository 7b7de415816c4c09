"""What a text must be: JSON of a schema, a match of a pattern, one of some choices, a grammar."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from stagegate.errors import InvalidRequestError
from stagegate.structured.json_schema import enforceable
from stagegate.text.reasoning import CLOSE, OPEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Between two tokens of JSON, once: a space, or a line end with the indentation of the next line.
# A model that has nothing to say says it with spaces, up to the bound, a token each.
_WHITESPACE = r" | ?\n( {0,32}|\t{0,16})"
_JSON_OPTIONS = {
    "whitespace_pattern": _WHITESPACE,
    "json_allow_general_unicode_escapes": True,  # "\u00e9", as writers of ASCII have it
}
# An application sends the same forms with every request. Longer ones are checked each time.
_CHECKED_KEPT = 256
_LONGEST_KEPT = 1 << 16
_POINTERS = re.compile(r"\^+|\d+ \| .*")
_GBNF_RULE = re.compile(r"^\s*[\w-]+\s*::=", re.MULTILINE)
# Where the library's words are for its own users.
_WORDING = (
    (r"Unimplemented keys: \[(.*?)\]", r"\1 cannot be enforced; leave it out of the schema"),
    (r"oneOf constraints are not supported\..*", "oneOf cannot be enforced here; use anyOf"),
    (r"Resource (.*?) is not present in a registry.*", r"the reference \1 leads out of the schema"),
)


@dataclass(frozen=True, slots=True)
class Guidance:
    """A form that generated text has to fit, and that ends it once nothing more fits.

    grammars: what llguidance compiles: a JSON object whose "grammars" are in lark or JSON Schema;
    the text fits the first, which may refer to the others.

    The constructors below write it. They raise InvalidRequestError for a form that cannot be read
    or kept to, and ImportError where the library llguidance is not installed.
    """

    grammars: str

    @classmethod
    def json_object(cls) -> Guidance:
        return cls.json_schema({"type": "object"})

    @classmethod
    def json_schema(cls, schema: dict[str, Any] | str, *, closed: bool = True) -> Guidance:
        """schema: a JSON Schema, as an object or as text.

        closed: objects have no properties but those that the schema lists, wherever it lists some
        and leaves `additionalProperties` and `patternProperties` out.
        """
        if isinstance(schema, str):
            try:
                schema = json.loads(schema)
            except (ValueError, RecursionError) as error:
                msg = f"guidance: the schema is not JSON: {error}"
                raise InvalidRequestError(msg, parameter="guidance") from error
        if not isinstance(schema, dict):
            msg = f"guidance: the schema must be a JSON object, got {json.dumps(schema)[:80]}"
            raise InvalidRequestError(msg, parameter="guidance")
        try:
            rewritten = enforceable(schema, closed=closed)
            return cls._checked([{"json_schema": rewritten | {"x-guidance": _JSON_OPTIONS}}])
        except RecursionError as error:
            msg = "guidance: the schema is nested too deeply"
            raise InvalidRequestError(msg, parameter="guidance") from error

    @classmethod
    def regex(cls, pattern: str) -> Guidance:
        """The whole text matches the pattern, of Rust's regex crate."""
        from llguidance import LLMatcher

        try:
            [grammar] = json.loads(LLMatcher.grammar_from_regex(pattern))["grammars"]
        except UnicodeEncodeError as error:
            raise InvalidRequestError(f"guidance: {error}", parameter="guidance") from error
        return cls._checked([grammar])

    @classmethod
    def choice(cls, choices: Sequence[str]) -> Guidance:
        """The text is one of these."""
        if not choices or not all(isinstance(text, str) and text for text in choices):
            msg = "guidance: choices must be texts that are not empty, at least one"
            raise InvalidRequestError(msg, parameter="guidance")
        return cls._checked([{"lark_grammar": f"start: {' | '.join(map(_quoted, choices))}"}])

    @classmethod
    def grammar(cls, text: str) -> Guidance:
        """A context-free grammar: lark as llguidance reads it, with a rule `start`, or GBNF, which
        llama.cpp and vLLM call EBNF, with a rule `root`.
        """
        if not _GBNF_RULE.search(text):
            return cls._checked([{"lark_grammar": text}])
        from llguidance.gbnf_to_lark import gbnf_to_lark

        try:
            converted = gbnf_to_lark(text)
        except Exception as error:  # the converter raises bare Exception
            msg = f"guidance: the grammar is not GBNF: {error}"
            raise InvalidRequestError(msg, parameter="guidance") from error
        return cls._checked([{"lark_grammar": converted}])

    @classmethod
    def composed(cls, lark: str, parts: Mapping[str, Guidance]) -> Guidance:
        """A lark grammar in which @name stands for the part of that name.

        It is checked when it is compiled; the parts have been already.
        """
        grammars: list[dict[str, Any]] = [{"lark_grammar": lark}]
        for name, part in parts.items():
            first, *others = json.loads(part.grammars)["grammars"]
            grammars += [first | {"name": name}, *others]
        return cls(_quoted({"grammars": grammars}))

    def after_reasoning(self, *, begun: bool) -> Guidance:
        """Free text up to `</think>` and its line ends, then the text that fits this form.

        begun: the prompt ends with `<think>`. Otherwise the model may open it, or begin at once.
        """
        reasoning = "thought LINE_ENDS" if begun else f'("{OPEN}" thought LINE_ENDS)?'
        return self.composed(
            f"start: {reasoning} @guided\n"
            f"thought[lazy]: THOUGHT\n"
            f'THOUGHT: /(?s:.*)/ "{CLOSE}"\n'
            f"LINE_ENDS: /\\n{{0,3}}/\n",
            {"guided": self},
        )

    @classmethod
    def _checked(cls, grammars: list[dict[str, Any]]) -> Guidance:
        guidance = cls(_quoted({"grammars": grammars}))
        kept = len(guidance.grammars) <= _LONGEST_KEPT
        problem = (_kept_problem if kept else _problem)(guidance.grammars)
        if problem:
            raise InvalidRequestError(f"guidance: {problem}", parameter="guidance")
        return guidance


def _problem(grammars: str) -> str:
    """Why a form cannot be kept to; empty when it can."""
    from llguidance import LLMatcher

    try:
        grammars.encode()
    except UnicodeEncodeError as error:
        return str(error)
    return on_one_line(LLMatcher.validate_grammar(grammars))


_kept_problem = lru_cache(maxsize=_CHECKED_KEPT)(_problem)


def on_one_line(error: str) -> str:
    """A message of the library, without the lines that only point into the text above them."""
    lines = [line.strip() for line in error.splitlines()]
    message = " ".join(line for line in lines if line and not _POINTERS.fullmatch(line))
    for pattern, wording in _WORDING:
        message = re.sub(pattern, wording, message)
    return message


def _quoted(value: object) -> str:
    """As JSON has it, and lark its strings; text without a UTF-8 form is refused later."""
    # JSON leaves DEL as it is; lark's lexer takes no control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
