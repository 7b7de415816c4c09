"""Grammars of generated text: a JSON schema, a regular expression, choices, Lark or GBNF."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from stagegate.errors import InvalidRequestError, MissingPackageError
from stagegate.sampling import GrammarDescription
from stagegate.structured.json_schema import enforceable
from stagegate.text.reasoning import CLOSE, OPEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Between two JSON tokens, once: a space, or a line end with the indentation of the next line. The
# bound limits models that generate white space without end.
_WHITESPACE = r" | ?\n( {0,32}|\t{0,16})"
_JSON_OPTIONS = {
    "whitespace_pattern": _WHITESPACE,
    "json_allow_general_unicode_escapes": True,  # "\u00e9", as ASCII serialisers write it
}
# An application sends the same grammars with every request. Longer ones are checked each time.
_CHECKED_KEPT = 256
_LONGEST_KEPT = 1 << 16
_POINTERS = re.compile(r"\^+|\d+ \| .*")
_GBNF_RULE = re.compile(r"^\s*[\w-]+\s*::=", re.MULTILINE)
# Replacements for messages that address users of the library.
_WORDING = (
    (r"Unimplemented keys: \[(.*?)\]", r"\1 cannot be enforced; leave it out of the schema"),
    (r"oneOf constraints are not supported\..*", "oneOf cannot be enforced here; use anyOf"),
    (r"Resource (.*?) is not present in a registry.*", r"the reference \1 leads out of the schema"),
)


class Grammar(GrammarDescription):
    """A grammar made by the constructors below.

    They raise InvalidRequestError for a grammar that cannot be parsed or enforced, and
    MissingPackageError if llguidance is not installed.
    """

    __slots__ = ()

    @classmethod
    def json_object(cls) -> Grammar:
        return cls.json_schema({"type": "object"})

    @classmethod
    def json_schema(cls, schema: dict[str, Any] | str, *, closed: bool = True) -> Grammar:
        """schema: a JSON Schema, as an object or as text.

        closed: objects have no properties but those that the schema lists, wherever it lists some
        and leaves `additionalProperties` and `patternProperties` out.
        """
        if isinstance(schema, str):
            try:
                schema = json.loads(schema)
            except (ValueError, RecursionError) as error:
                msg = f"grammar: the schema is not JSON: {error}"
                raise InvalidRequestError(msg, parameter="grammar") from error
        if not isinstance(schema, dict):
            msg = f"grammar: the schema must be a JSON object, got {json.dumps(schema)[:80]}"
            raise InvalidRequestError(msg, parameter="grammar")
        try:
            rewritten = enforceable(schema, closed=closed)
            return cls._checked([{"json_schema": rewritten | {"x-guidance": _JSON_OPTIONS}}])
        except RecursionError as error:
            msg = "grammar: the schema is nested too deeply"
            raise InvalidRequestError(msg, parameter="grammar") from error

    @classmethod
    def regex(cls, pattern: str) -> Grammar:
        """The whole text matches the pattern, of Rust's regex crate."""
        with _library():
            from llguidance import LLMatcher
        try:
            [grammar] = json.loads(LLMatcher.grammar_from_regex(pattern))["grammars"]
        except UnicodeEncodeError as error:
            raise InvalidRequestError(f"grammar: {error}", parameter="grammar") from error
        return cls._checked([grammar])

    @classmethod
    def choice(cls, choices: Sequence[str]) -> Grammar:
        """The text is one of these."""
        if not choices or not all(isinstance(text, str) and text for text in choices):
            msg = "grammar: choices must be texts that are not empty, at least one"
            raise InvalidRequestError(msg, parameter="grammar")
        return cls._checked([{"lark_grammar": f"start: {' | '.join(map(_quoted, choices))}"}])

    @classmethod
    def context_free(cls, text: str) -> Grammar:
        """A context-free grammar: llguidance's Lark with a rule `start`, or GBNF, which llama.cpp
        and vLLM call EBNF, with a rule `root`.
        """
        if not _GBNF_RULE.search(text):
            return cls._checked([{"lark_grammar": text}])
        with _library():
            from llguidance.gbnf_to_lark import gbnf_to_lark
        try:
            converted = gbnf_to_lark(text)
        except Exception as error:  # the converter raises bare Exception
            msg = f"grammar: the grammar is not GBNF: {error}"
            raise InvalidRequestError(msg, parameter="grammar") from error
        return cls._checked([{"lark_grammar": converted}])

    @classmethod
    def composed(cls, lark: str, parts: Mapping[str, Grammar]) -> Grammar:
        """A Lark grammar in which @name refers to the part of that name.

        It is checked when it is compiled; the parts have already been checked.
        """
        grammars: list[dict[str, Any]] = [{"lark_grammar": lark}]
        for name, part in parts.items():
            first, *others = json.loads(part.grammars)["grammars"]
            grammars += [first | {"name": name}, *others]
        return cls(_quoted({"grammars": grammars}))

    def after_reasoning(self, *, begun: bool) -> Grammar:
        """Free text up to `</think>` and its line ends, then text that matches this grammar.

        begun: the prompt ends with `<think>`. Otherwise the model may generate it or omit the
        reasoning.
        """
        reasoning = "thought LINE_ENDS" if begun else f'("{OPEN}" thought LINE_ENDS)?'
        return self.composed(
            f"start: {reasoning} @content\n"
            f"thought[lazy]: THOUGHT\n"
            f'THOUGHT: /(?s:.*)/ "{CLOSE}"\n'
            f"LINE_ENDS: /\\n{{0,3}}/\n",
            {"content": self},
        )

    @classmethod
    def _checked(cls, grammars: list[dict[str, Any]]) -> Grammar:
        grammar = cls(_quoted({"grammars": grammars}))
        kept = len(grammar.grammars) <= _LONGEST_KEPT
        problem = (_kept_problem if kept else _problem)(grammar.grammars)
        if problem:
            raise InvalidRequestError(f"grammar: {problem}", parameter="grammar")
        return grammar


@contextmanager
def _library() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        msg = f"grammars need the package llguidance: pip install llguidance ({error})"
        raise MissingPackageError(msg) from error


def _problem(grammars: str) -> str:
    """Why a grammar cannot be enforced; empty if it can."""
    with _library():
        from llguidance import LLMatcher
    try:
        grammars.encode()
    except UnicodeEncodeError as error:
        return str(error)
    return on_one_line(LLMatcher.validate_grammar(grammars))


_kept_problem = lru_cache(maxsize=_CHECKED_KEPT)(_problem)


def on_one_line(error: str) -> str:
    """A message of the library, without lines that only point into the text above them."""
    lines = [line.strip() for line in error.splitlines()]
    message = " ".join(line for line in lines if line and not _POINTERS.fullmatch(line))
    for pattern, wording in _WORDING:
        message = re.sub(pattern, wording, message)
    return message


def _quoted(value: object) -> str:
    """Quoted for JSON and for Lark; text that is not valid UTF-8 is refused later."""
    # JSON leaves DEL as it is; lark's lexer takes no control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
