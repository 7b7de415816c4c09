"""Conversion of request fields to engine parameters."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from stagegate.errors import InvalidRequestError
from stagegate.sampling import SamplingParams
from stagegate.server.openai.structured_outputs import grammar_by

if TYPE_CHECKING:
    from stagegate.server.openai.protocol import (
        GenerationFields,
        JsonObjectFormat,
        JsonSchemaFormat,
        StructuredOutputs,
    )
    from stagegate.serving.client import EngineClient
    from stagegate.structured.grammar import Grammar

# Not taken from the body unchanged: arguments of sampling_params, or translated by it.
_TRANSLATED: Final = frozenset(
    ("max_tokens", "logprobs", "prompt_logprobs", "grammar", "logit_bias")
)
_SAME_IN_BOTH: Final = tuple(
    part.name for part in fields(SamplingParams) if part.name not in _TRANSLATED
)

GRAMMAR_FIELDS = (
    *("guided_json", "guided_regex", "guided_choice", "guided_grammar"),
    *("response_format", "structured_outputs"),
)
_ANY_OBJECT = {"type": "object"}


def sampling_params(
    body: GenerationFields,
    client: EngineClient,
    *,
    max_tokens: int | None,
    logprobs: int | None,
    grammar: Grammar | None,
    prompt_logprobs: int | None = None,
) -> SamplingParams:
    """Parameters of a request; omitted ones are those recommended by the model's authors.

    Raises InvalidRequestError naming the wrong field.
    """
    stated: dict[str, Any] = {
        name: value for name in _SAME_IN_BOTH if (value := getattr(body, name)) is not None
    }
    if stated.get("top_k") == -1:
        stated["top_k"] = 0
    if grammar is not None:
        stated["grammar"] = grammar
    return replace(
        client.default_sampling_params(max_tokens=max_tokens),
        **stated,
        logit_bias=_logit_bias(body),
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
    )


def stated_grammar(body: GenerationFields, *, open_schemas: bool = False) -> Grammar | None:
    """The grammar of the text, from response_format, structured_outputs or a guided_ field.

    open_schemas: as in ServerSettings. Raises InvalidRequestError for more than one.
    """
    stated: dict[str, Any] = {
        name: value for name in GRAMMAR_FIELDS if (value := getattr(body, name)) is not None
    }
    response_format = stated.pop("response_format", None)
    if response_format is not None and response_format.type != "text":
        stated["response_format"] = _schema_of(response_format)
    closed = not open_schemas
    structured_outputs = stated.pop("structured_outputs", None)
    if structured_outputs is not None:
        closed = closed or structured_outputs.disable_additional_properties is True
        stated |= _structured_outputs(structured_outputs)
    if len(stated) > 1:
        msg = f"{' and '.join(stated)} exclude each other; give one"
        raise InvalidRequestError(msg, parameter=list(stated)[-1])
    for name, value in stated.items():
        return grammar_by(name, partial(_grammar, name, value, closed=closed))
    return None


def _structured_outputs(body: StructuredOutputs) -> dict[str, Any]:
    for name in ("whitespace_pattern", "structural_tag", "disable_any_whitespace"):
        if getattr(body, name):
            msg = f"structured_outputs.{name} is not supported; leave it out"
            raise InvalidRequestError(msg, parameter=f"structured_outputs.{name}")
    stated = {
        "json": body.json_,
        "regex": body.regex,
        "choice": body.choice,
        "grammar": body.grammar,
        "json_object": _ANY_OBJECT if body.json_object else None,
    }
    found = {
        f"structured_outputs.{name}": value for name, value in stated.items() if value is not None
    }
    if not found:
        msg = f"structured_outputs needs one of {', '.join(stated)}"
        raise InvalidRequestError(msg, parameter="structured_outputs")
    return found


def _schema_of(stated: JsonObjectFormat | JsonSchemaFormat) -> dict[str, Any]:
    schema = stated.json_schema.schema_ if stated.type == "json_schema" else stated.value
    return _ANY_OBJECT if schema is None else schema


def _grammar(name: str, value: Any, kind: type[Grammar], *, closed: bool) -> Grammar:
    if name.endswith("regex"):
        return kind.regex(value)
    if name.endswith("choice"):
        return kind.choice(value)
    if name.endswith("grammar"):
        return kind.context_free(value)
    return kind.json_schema(value, closed=closed)


def _logit_bias(body: GenerationFields) -> dict[int, float]:
    bias: dict[int, float] = {}
    for key, value in (body.logit_bias or {}).items():
        if not (key.isascii() and key.isdecimal() and len(key) <= 10):
            msg = f"logit_bias is keyed by token ids, got {key[:32]!r}"
            raise InvalidRequestError(msg, parameter="logit_bias")
        bias[int(key)] = value
    return bias
