"""Bodies of requests."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from stagegate.sampling import MAX_LOGPROBS, MAX_STOP_STRINGS, RANGES
from stagegate.server.openai.fields import Fields, OpenFields
from stagegate.server.openai.messages import Message
from stagegate.server.openai.no_op_fields import ChatNoOpFields, CompletionNoOpFields
from stagegate.server.openai.number_fields import RowFields, number_field

MAX_PROMPTS = 1024
_INT64 = 1 << 63

# A list of a million wrong items is refused at the first of them.
TokenIds = Annotated[list[int], Field(fail_fast=True)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class TextFormat(Fields):
    type: Literal["text"]


class JsonObjectFormat(Fields):
    type: Literal["json_object"]
    value: dict[str, Any] | None = Field(
        default=None, description="a schema, in the format of Hugging Face's client"
    )


class JsonSchema(Fields):
    name: str
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = Field(default=None, description="a schema is always enforced")


class JsonSchemaFormat(Fields):
    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")
]


class StructuredOutputs(Fields):
    """vLLM's description of structured output; exactly one of the first five fields is set."""

    json_: str | dict[str, Any] | None = Field(
        default=None, alias="json", description="a JSON schema"
    )
    regex: str | None = None
    choice: Annotated[list[str], Field(min_length=1)] | None = None
    grammar: str | None = Field(default=None, description="lark or GBNF")
    json_object: bool | None = None
    disable_additional_properties: bool | None = Field(
        default=None, description="true closes objects that the server would leave open"
    )
    disable_any_whitespace: bool | None = Field(default=None, description="true is not supported")
    whitespace_pattern: str | None = Field(default=None, description="not supported")
    structural_tag: str | None = Field(default=None, description="not supported")


class StreamOptions(Fields):
    include_usage: bool | None = Field(
        default=None, description="end with a chunk that has no choices and the usage"
    )
    continuous_usage_stats: bool | None = Field(
        default=None, description="with include_usage: the usage so far in every chunk"
    )
    include_obfuscation: bool | None = Field(default=None, description="has no effect")


class SamplingFields(RowFields):  # type: ignore[misc] # its base is made from a table
    """Fields of all requests that generate. null is the default everywhere."""

    model: str | None = Field(
        default=None, description="a name of /v1/models; optional if one model is served"
    )
    min_tokens: int | None = number_field(RANGES["min_tokens"])
    top_k: int | None = Field(default=None, ge=-1, lt=1 << 31, description="-1 and 0 are off")
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        default=None, description="token id to the value added to its logit"
    )
    seed: int | None = number_field(RANGES["seed"])
    stop: str | Annotated[list[str], Field(max_length=MAX_STOP_STRINGS)] | None = None
    stop_token_ids: TokenIds | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    priority: int | None = Field(
        default=None, ge=-_INT64, lt=_INT64, description="lower runs first; 0 by default"
    )
    stream: bool | None = None
    request_id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]{1,128}$",
        description="as the header X-Request-Id, which takes precedence",
    )


class GenerationFields(SamplingFields):
    """Fields of chat and text completions."""

    max_tokens: int | None = Field(default=None, ge=0)
    n: int | None = number_field(RANGES["n"])
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    guided_json: str | dict[str, Any] | None = Field(default=None, description="a JSON schema")
    guided_regex: str | None = None
    guided_choice: list[str] | None = Field(default=None, min_length=1)
    guided_grammar: str | None = Field(default=None, description="lark or GBNF")
    structured_outputs: StructuredOutputs | None = None


class FunctionDefinition(OpenFields):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = Field(default=None, description="a JSON schema")
    strict: bool | None = Field(
        default=None, description="has no effect where a call is not forced"
    )


class Tool(OpenFields):
    type: Literal["function"]
    function: FunctionDefinition


class FunctionName(Fields):
    name: Name


class NamedToolChoice(Fields):
    type: Literal["function"]
    function: FunctionName


class ChatCompletionRequest(ChatNoOpFields, GenerationFields):
    messages: Annotated[list[Message], Field(fail_fast=True, min_length=1)]
    max_completion_tokens: int | None = Field(
        default=None,
        ge=1,
        description="takes precedence over max_tokens; by default what the model can hold",
    )
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MAX_LOGPROBS)
    tools: Annotated[list[Tool], Field(fail_fast=True, max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedToolChoice | None = None
    parallel_tool_calls: bool | None = None
    separate_reasoning: bool | None = Field(
        default=None,
        description="separate <think>...</think>; the default is a setting of the server",
    )
    reasoning_effort: ReasoningEffort | None = Field(
        default=None, description="for the chat template, if it reads it"
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        default=None, description="variables for the chat template, such as enable_thinking"
    )


class CompletionRequest(CompletionNoOpFields, GenerationFields):
    prompt: (
        str
        | Annotated[list[str], Field(fail_fast=True, min_length=1, max_length=MAX_PROMPTS)]
        | Annotated[TokenIds, Field(min_length=1)]
        | Annotated[list[TokenIds], Field(fail_fast=True, min_length=1, max_length=MAX_PROMPTS)]
    )
    add_special_tokens: bool | None = Field(
        default=None, description="of prompts that are text; true by default"
    )
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=MAX_LOGPROBS)


class TokenizeRequest(Fields):
    """Either a prompt or messages."""

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[Message], Field(fail_fast=True, min_length=1)] | None = None
    tools: Annotated[list[Tool], Field(fail_fast=True, max_length=128)] | None = None
    add_special_tokens: bool | None = Field(
        default=None, description="of a prompt, true by default; a chat template has its own"
    )
    add_generation_prompt: bool | None = Field(default=None, description="true by default")
    chat_template_kwargs: dict[str, Any] | None = Field(
        default=None, description="variables for the chat template, such as enable_thinking"
    )
    return_token_strs: bool | None = None


class DetokenizeRequest(Fields):
    model: str | None = None
    tokens: TokenIds
    skip_special_tokens: bool | None = Field(default=None, description="false by default")
