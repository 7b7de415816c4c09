"""Fields of a request to the parameters of the engine."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from engine.errors import InvalidRequestError
from engine.server.guided import guided_by
from engine.server.protocol import JsonObjectFormat, JsonSchemaFormat

if TYPE_CHECKING:
    from engine.guidance import Guidance
    from engine.llm_engine import LLMEngine
    from engine.sampling import SamplingParams
    from engine.server.protocol import GenerationFields

_SAME_IN_BOTH = (
    *("n", "min_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop"),
    *("repetition_penalty", "presence_penalty", "frequency_penalty", "stop_token_ids"),
    *("include_stop_str_in_output", "ignore_eos", "skip_special_tokens"),
)


def sampling_params(
    fields: GenerationFields,
    engine: LLMEngine,
    *,
    max_tokens: int | None,
    logprobs: int | None,
    guidance: Guidance | None,
    prompt_logprobs: int | None = None,
) -> SamplingParams:
    """Parameters of a request; what it leaves open is what the model's authors recommend.

    Raises InvalidRequestError naming the field at fault.
    """
    stated: dict[str, Any] = {
        name: value for name in _SAME_IN_BOTH if (value := getattr(fields, name)) is not None
    }
    if stated.get("top_k") == -1:
        stated["top_k"] = 0
    if guidance is not None:
        stated["guidance"] = guidance
    return replace(
        engine.default_sampling_params(max_tokens=max_tokens),
        **stated,
        logit_bias=_logit_bias(fields),
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
    )


def stated_guidance(fields: GenerationFields) -> Guidance | None:
    """What response_format or a guided_ field asks the text to keep to; at most one of them."""
    stated = {
        name: value
        for name in ("response_format", "guided_json", "guided_regex", "guided_choice")
        if (value := getattr(fields, name)) is not None and getattr(value, "type", None) != "text"
    }
    if len(stated) > 1:
        msg = f"{' and '.join(stated)} exclude each other; give one"
        raise InvalidRequestError(msg, parameter=list(stated)[-1])
    for name, value in stated.items():
        return guided_by(name, partial(_guidance, name, value))
    return None


def _guidance(name: str, value: Any, kind: type[Guidance]) -> Guidance:
    if name == "guided_regex":
        return kind.regex(value)
    if name == "guided_choice":
        return kind.choice(value)
    if name == "guided_json":
        return kind.json_schema(value)
    if isinstance(value, JsonSchemaFormat) and value.json_schema.schema_ is not None:
        return kind.json_schema(value.json_schema.schema_)
    if isinstance(value, JsonObjectFormat) and value.value is not None:
        return kind.json_schema(value.value)
    return kind.json_object()


def _logit_bias(fields: GenerationFields) -> dict[int, float]:
    bias: dict[int, float] = {}
    for key, value in (fields.logit_bias or {}).items():
        if not (key.isascii() and key.isdecimal() and len(key) <= 10):
            msg = f"logit_bias is keyed by token ids, got {key[:32]!r}"
            raise InvalidRequestError(msg, parameter="logit_bias")
        bias[int(key)] = value
    return bias
