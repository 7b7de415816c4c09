"""Fields that clients send by default and that have no effect here, with their accepted values.

A field that is not listed, or a value that would change the answer, is refused by name. null is
accepted for every field, listed or not.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from stagegate.server.openai.fields import Fields

_NO_EFFECT = Field(default=None, description="has no effect")


def _is_one(value: float) -> float:
    if value != 1:
        raise PydanticCustomError("not_one", "must be 1")
    return value


_One = Annotated[float, AfterValidator(_is_one), WithJsonSchema({"type": "number", "const": 1})]
_NoItems = Annotated[list[Any], Field(max_length=0)]
_NoKeys = Annotated[dict[str, Any], Field(max_length=0)]


class NoOpFields(Fields):
    """Fields of chat and text completions."""

    # OpenAI
    user: str | None = _NO_EFFECT
    safety_identifier: str | None = _NO_EFFECT
    prompt_cache_key: str | None = _NO_EFFECT
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = _NO_EFFECT
    metadata: dict[str, Any] | None = _NO_EFFECT
    store: Literal[False] | None = Field(default=None, description="nothing is ever stored")
    service_tier: Literal["auto", "default"] | None = _NO_EFFECT
    best_of: int | None = Field(default=None, description="must equal n")
    # Samplers of vLLM, SGLang and Transformers, switched off
    use_beam_search: Literal[False] | None = _NO_EFFECT
    length_penalty: _One | None = _NO_EFFECT
    typical_p: _One | None = _NO_EFFECT
    bad_words: _NoItems | None = _NO_EFFECT
    logits_processors: _NoItems | None = _NO_EFFECT
    # Forms of the answer
    spaces_between_special_tokens: Literal[True] | None = _NO_EFFECT
    return_token_ids: Literal[False] | None = _NO_EFFECT
    return_tokens_as_token_ids: Literal[False] | None = _NO_EFFECT
    return_hidden_states: Literal[False] | None = _NO_EFFECT
    no_stop_trim: Literal[False] | None = _NO_EFFECT
    # Other inputs
    mm_processor_kwargs: _NoKeys | None = _NO_EFFECT
    media_io_kwargs: _NoKeys | None = _NO_EFFECT
    vllm_xargs: _NoKeys | None = _NO_EFFECT

    @field_validator("best_of")
    @classmethod
    def _equals_n(cls, best_of: int | None, info: ValidationInfo) -> int | None:
        n = info.data.get("n") or 1
        if best_of is not None and "n" in info.data and best_of != n:
            raise PydanticCustomError("best_of", "must be n, which is {n}", {"n": n})
        return best_of


class ChatNoOpFields(NoOpFields):
    """Fields of chat completions."""

    modalities: list[Literal["text"]] | None = _NO_EFFECT
    verbosity: Literal["low", "medium", "high"] | None = _NO_EFFECT
    functions: _NoItems | None = _NO_EFFECT
    function_call: Literal["none", "auto"] | None = _NO_EFFECT
    echo: Literal[False] | None = _NO_EFFECT
    add_generation_prompt: Literal[True] | None = _NO_EFFECT
    continue_final_message: Literal[False] | None = _NO_EFFECT
    add_special_tokens: Literal[False] | None = Field(
        default=None, description="the chat template writes them"
    )
    documents: _NoItems | None = _NO_EFFECT
    include_reasoning: Literal[True] | None = _NO_EFFECT
    stream_reasoning: Literal[True] | None = _NO_EFFECT


class CompletionNoOpFields(NoOpFields):
    """Fields of text completions."""

    suffix: Literal[""] | None = _NO_EFFECT
