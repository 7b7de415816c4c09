"""The body of a response, and the request settings that it repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic_core import to_json

from stagegate.errors import InvalidRequestError
from stagegate.server.openai.protocol import ReasoningEffort
from stagegate.server.openai.responses import Answer, ChatTokenLogprob

if TYPE_CHECKING:
    from stagegate.sampling import SamplingParams
    from stagegate.server.responses_api.request import ResponsesRequest

Status = Literal["in_progress", "completed", "incomplete", "cancelled", "failed"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputText(Answer):
    """annotations: always empty. logprobs: one entry per token, if the request includes them."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[None]
    logprobs: list[ChatTokenLogprob]


class Message(Answer):
    id: str
    type: Literal["message"] = "message"
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class ReasoningText(Answer):
    type: Literal["reasoning_text"] = "reasoning_text"
    text: str


class Reasoning(Answer):
    """summary: always empty, because the content is complete."""

    id: str
    type: Literal["reasoning"] = "reasoning"
    status: ItemStatus
    summary: list[None]
    content: list[ReasoningText]


class FunctionCall(Answer):
    id: str
    type: Literal["function_call"] = "function_call"
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


OutputItem = Annotated[Message | Reasoning | FunctionCall, Field(discriminator="type")]


class IncompleteDetails(Answer):
    reason: Literal["max_output_tokens"]


class ResponseError(Answer):
    code: Literal["server_error"]
    message: str


class InputTokensDetails(Answer):
    """cached_tokens came from the prefix cache; writes to the cache are not counted."""

    cached_tokens: int
    cache_write_tokens: Literal[0] = 0


class OutputTokensDetails(Answer):
    """reasoning_tokens: with the tag that opens the reasoning, if the model wrote it."""

    reasoning_tokens: int


class ResponseUsage(Answer):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ReasoningSettings(Answer):
    effort: ReasoningEffort | None
    summary: None


class Response(Answer):
    """created_at, completed_at: seconds since 1970. usage: None until the response has ended.

    The fields from `instructions` on are those of the request, or the defaults in effect.
    """

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None
    status: Status
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    model: str
    output: list[OutputItem]
    usage: ResponseUsage | None
    instructions: str | None
    max_output_tokens: int | None
    tools: list[dict[str, Any]]
    tool_choice: str | dict[str, Any]
    parallel_tool_calls: bool
    text: dict[str, Any]
    temperature: float
    top_p: float
    top_logprobs: int
    reasoning: ReasoningSettings
    truncation: Literal["disabled"]
    store: Literal[False]
    background: Literal[False]
    previous_response_id: None
    max_tool_calls: None
    service_tier: Literal["default"]
    metadata: dict[str, str]
    user: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None


def settings_of(request: ResponsesRequest, params: SamplingParams) -> dict[str, Any]:
    """The fields of Response from instructions on.

    Raises InvalidRequestError for one that JSON cannot represent, such as half a surrogate pair.
    """
    text = {"format": {"type": "text"}}
    if request.text is not None and request.text.format is not None:
        text["format"] = request.text.format.model_dump(by_alias=True)
    choice = request.tool_choice or "auto"
    effort = request.reasoning.effort if request.reasoning is not None else None
    settings: dict[str, Any] = {
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "tools": [tool.model_dump() for tool in request.tools or ()],
        "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "text": text,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_logprobs": request.top_logprobs or 0,
        "reasoning": ReasoningSettings(effort=effort, summary=None),
        "truncation": "disabled",
        "store": False,
        "background": False,
        "previous_response_id": None,
        "max_tool_calls": None,
        "service_tier": "default",
        "metadata": request.metadata or {},
        "user": request.user,
        "safety_identifier": request.safety_identifier,
        "prompt_cache_key": request.prompt_cache_key,
    }
    for name, value in settings.items():
        try:
            to_json({"response": {name: value}})  # as deep as in an event
        except ValueError as error:
            msg = f"{name} has no form in JSON: {error}"
            raise InvalidRequestError(msg, parameter=name) from error
    return settings
