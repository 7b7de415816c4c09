"""Conversion of a Responses request to the equivalent chat completion request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from stagegate.errors import InvalidRequestError
from stagegate.server.http.refusals import refusal
from stagegate.server.openai.chat import chat_form
from stagegate.server.openai.protocol import ChatCompletionRequest, SamplingFields
from stagegate.server.responses_api.conversation import chat_messages
from stagegate.server.responses_api.request import LOGPROBS, AllowedTools, JsonSchema, NamedFunction

if TYPE_CHECKING:
    from stagegate.server.http.models import ServedModel
    from stagegate.server.openai.chat_output import ChatForm
    from stagegate.server.responses_api.request import FunctionTool, ResponsesRequest

# Fields of a chat completion by their names in the Responses API.
_NAMES = {
    "messages": "input",
    "prompt": "input",
    "response_format": "text.format",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
}


async def response_form(
    request: ResponsesRequest,
    model: ServedModel,
    ids: tuple[str, str | None],
    *,
    reasoning: bool,
    open_schemas: bool,
) -> ChatForm:
    """As chat_form. Raises InvalidRequestError naming the field at fault."""
    chat = chat_request(request)
    try:
        return await chat_form(chat, model, ids, reasoning=reasoning, open_schemas=open_schemas)
    except InvalidRequestError as error:
        raise _renamed(error) from error


def chat_request(request: ResponsesRequest) -> ChatCompletionRequest:
    """Raises InvalidRequestError for fields that conflict, or that a chat completion lacks."""
    fields = {name: getattr(request, name) for name in SamplingFields.model_fields}
    fields["messages"] = chat_messages(request.instructions, request.input)
    fields["max_completion_tokens"] = request.max_output_tokens
    if request.reasoning is not None:
        fields["reasoning_effort"] = request.reasoning.effort
    fields |= _logprobs(request) | _tools(request) | _response_format(request)
    stated = {name: value for name, value in fields.items() if value is not None}
    try:
        return ChatCompletionRequest.model_validate(stated)
    except ValidationError as error:
        problems = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        message, parameter = refusal(problems, stated)
        raise _renamed(InvalidRequestError(message, parameter=parameter)) from error


def _logprobs(request: ResponsesRequest) -> dict[str, Any]:
    if LOGPROBS in (request.include or ()):
        return {"logprobs": True, "top_logprobs": request.top_logprobs}
    if request.top_logprobs:
        msg = f'top_logprobs needs include: ["{LOGPROBS}"]'
        raise InvalidRequestError(msg, parameter="top_logprobs")
    return {}


def _tools(request: ResponsesRequest) -> dict[str, Any]:
    """The tools and the choice; with allowed_tools the other tools are not shown to the model."""
    tools, choice = request.tools or [], request.tool_choice
    chosen: str | dict[str, Any] | None
    if isinstance(choice, AllowedTools):
        tools, chosen = _allowed(tools, choice), choice.mode
    elif isinstance(choice, NamedFunction):
        chosen = {"type": "function", "function": {"name": choice.name}}
    else:
        chosen = choice
    if not tools and chosen == "auto":
        return {}  # there is nothing to choose from
    return {
        "tools": [_chat_tool(tool) for tool in tools] or None,
        "tool_choice": chosen,
        "parallel_tool_calls": request.parallel_tool_calls,
    }


def _allowed(tools: list[FunctionTool], choice: AllowedTools) -> list[FunctionTool]:
    names = {tool.name for tool in choice.tools}
    if unknown := names - {tool.name for tool in tools}:
        msg = f"tool_choice allows {', '.join(sorted(unknown))}, which tools does not have"
        raise InvalidRequestError(msg, parameter="tool_choice")
    return [tool for tool in tools if tool.name in names]


def _chat_tool(tool: FunctionTool) -> dict[str, Any]:
    function = tool.model_dump(exclude_none=True, exclude={"type"})
    return {"type": "function", "function": function}


def _response_format(request: ResponsesRequest) -> dict[str, Any]:
    stated = request.text.format if request.text is not None else None
    if stated is None:
        return {}
    if not isinstance(stated, JsonSchema):
        return {"response_format": {"type": stated.type}}
    schema = stated.model_dump(by_alias=True, exclude_none=True, exclude={"type"})
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _renamed(error: InvalidRequestError) -> InvalidRequestError:
    """An error of a chat completion with the field names of this request."""
    stated = error.parameter or ""
    name = _NAMES.get(stated.partition(".")[0])
    if name is None:
        return error
    message = str(error)
    if message.startswith(stated):
        message = name + message.removeprefix(stated)
    return type(error)(message, parameter=name)
