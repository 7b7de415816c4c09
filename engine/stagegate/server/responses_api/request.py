"""The body of a request to /v1/responses."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, JsonValue, Tag
from pydantic_core import PydanticCustomError

from stagegate.sampling import MAX_LOGPROBS
from stagegate.server.openai.fields import Fields, OpenFields
from stagegate.server.openai.protocol import Name, ReasoningEffort, SamplingFields
from stagegate.server.responses_api.input_items import Input
from stagegate.server.responses_api.typed_objects import only_types

LOGPROBS = "message.output_text.logprobs"
_NO_EFFECT = "has no effect"
Schema = dict[str, JsonValue]


class FunctionTool(OpenFields):
    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: Schema | None = Field(default=None, description="a JSON schema")
    strict: bool | None = Field(default=None, description="as in chat completions")


class NamedFunction(OpenFields):
    type: Literal["function"]
    name: Name


_OF_A_TOOL = only_types(
    "function", hints={"custom": "make it a function with one string parameter"}
)
Tool = Annotated[FunctionTool, _OF_A_TOOL]

# Tools that OpenAI's servers run, and groups of tools that they search. Clients offer them by
# default. They are not shown to the model, which is free not to use a tool.
HOSTED_TOOLS = frozenset({
    "code_interpreter", "computer_use_preview", "file_search", "image_generation", "mcp",
    "namespace", "tool_search", "web_search", "web_search_preview",
})  # fmt: skip


def _leave_out_hosted(tools: Any) -> Any:
    if not isinstance(tools, list):
        return tools
    return [tool for tool in tools if not _is_hosted(tool)]


def _is_hosted(tool: Any) -> bool:
    kind = tool.get("type") if isinstance(tool, dict) else None
    return isinstance(kind, str) and kind in HOSTED_TOOLS


class AllowedTools(OpenFields):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[Annotated[NamedFunction, _OF_A_TOOL]] = Field(min_length=1)


def _mode_or_tool(value: Any) -> str:
    return "tool" if isinstance(value, dict | NamedFunction | AllowedTools) else "mode"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("mode")]
    | Annotated[
        NamedFunction | AllowedTools,
        Field(discriminator="type"),
        only_types("function", "allowed_tools"),
        Tag("tool"),
    ],
    Discriminator(_mode_or_tool),
]


class PlainText(OpenFields):
    type: Literal["text"]


class JsonObject(OpenFields):
    type: Literal["json_object"]


class JsonSchema(OpenFields):
    type: Literal["json_schema"]
    name: str
    schema_: Schema = Field(alias="schema")
    description: str | None = None
    strict: bool | None = Field(default=None, description="a schema is always enforced")


Format = Annotated[
    PlainText | JsonObject | JsonSchema,
    Field(discriminator="type"),
    only_types("text", "json_object", "json_schema"),
]


class TextSettings(Fields):
    format: Format | None = None
    verbosity: str | None = Field(default=None, description=_NO_EFFECT)


class ReasoningSettings(OpenFields):
    """Only `effort` has an effect: the content of the reasoning is its summary."""

    effort: ReasoningEffort | None = Field(
        default=None, description="for the chat template, if it reads it"
    )


class StreamSettings(Fields):
    include_obfuscation: bool | None = Field(
        default=None, description="has no effect: nothing is added to hide lengths"
    )


def _only(legal: str | bool | None, hint: str) -> BeforeValidator:
    """Refuses any value except null and the permitted one, with a hint."""

    def check(value: Any) -> Any:
        if value is None or (type(value) is type(legal) and value == legal):
            return value
        wanted = f"{json.dumps(legal)}: {hint}"
        raise PydanticCustomError("unsupported", "must be {wanted}", {"wanted": wanted})

    return BeforeValidator(check)


_NOTHING_STORED = "nothing is stored here; send the whole conversation in input"


class ResponsesRequest(SamplingFields):
    input: Input
    instructions: str | None = Field(default=None, description="a system message before the input")
    max_output_tokens: int | None = Field(
        default=None, ge=1, description="by default what the model can hold"
    )
    tools: Annotated[
        Annotated[list[Tool], Field(fail_fast=True, max_length=128)] | None,
        BeforeValidator(_leave_out_hosted),
    ] = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextSettings | None = None
    include: (
        list[
            Literal[
                "message.output_text.logprobs",
                "reasoning.encrypted_content",
                "message.input_image.image_url",
                "file_search_call.results",
                "web_search_call.results",
                "web_search_call.action.sources",
                "computer_call_output.output.image_url",
                "code_interpreter_call.outputs",
            ]
        ]
        | None
    ) = Field(
        default=None,
        description="only the first has an effect; this server writes none of the other items",
    )
    top_logprobs: int | None = Field(default=None, ge=0, le=MAX_LOGPROBS)
    stream_options: StreamSettings | None = None
    user: str | None = Field(default=None, description="returned in the answer")
    metadata: dict[str, str] | None = Field(default=None, description="returned in the answer")
    store: bool | None = Field(
        default=None, description="nothing is ever stored; the answer says store: false"
    )
    previous_response_id: Annotated[None, _only(None, _NOTHING_STORED)] = None
    conversation: Annotated[None, _only(None, _NOTHING_STORED)] = None
    prompt: Annotated[None, _only(None, "nothing is stored here; send instructions and input")] = (
        None
    )
    background: Annotated[
        Literal[False] | None, _only(False, "nothing is stored here; use stream for long answers")
    ] = None
    truncation: Annotated[
        Literal["disabled"] | None, _only("disabled", "leave items out of input")
    ] = None
    max_tool_calls: Annotated[None, _only(None, "it counts calls of built-in tools")] = None
    reasoning: ReasoningSettings | None = None
    service_tier: str | None = Field(default=None, description=_NO_EFFECT)
    safety_identifier: str | None = Field(default=None, description=_NO_EFFECT)
    prompt_cache_key: str | None = Field(
        default=None, description="has no effect: equal beginnings are found without it"
    )
    prompt_cache_retention: str | None = Field(default=None, description=_NO_EFFECT)
    client_metadata: dict[str, JsonValue] | None = Field(default=None, description=_NO_EFFECT)
