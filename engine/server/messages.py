"""Messages of a conversation: as the OpenAI API has them, and as chat templates read them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from engine.errors import InvalidRequestError
from engine.server.fields import Fields


class TextPart(Fields):
    type: Literal["text"]
    text: str


Text = str | list[TextPart]


class SystemMessage(Fields):
    role: Literal["system", "developer"]
    content: Text
    name: str | None = None


class UserMessage(Fields):
    role: Literal["user"]
    content: Text
    name: str | None = None


class CalledFunction(Fields):
    name: str
    arguments: str = Field(description="a JSON object, as text")


class ToolCall(Fields):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class AssistantMessage(Fields):
    """What an answer brought; fields of it that this server never fills may come back as null."""

    role: Literal["assistant"]
    content: Text | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    name: str | None = None
    refusal: None = None
    annotations: None = None
    audio: None = None
    function_call: None = None


class ToolMessage(Fields):
    role: Literal["tool"]
    content: Text
    tool_call_id: str
    name: str | None = None


Message = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


def template_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as the templates of Hugging Face checkpoints take them."""
    return [_template_message(index, message) for index, message in enumerate(messages)]


def _template_message(index: int, message: Message) -> dict[str, Any]:
    # Templates know the system by one name.
    role = "system" if message.role == "developer" else message.role
    fields: dict[str, Any] = {"role": role, "content": _text(message.content)}
    if message.name is not None:
        fields["name"] = message.name
    if isinstance(message, ToolMessage):
        fields["tool_call_id"] = message.tool_call_id
    if isinstance(message, AssistantMessage):
        if message.reasoning_content is not None:
            fields["reasoning_content"] = message.reasoning_content
        if message.tool_calls:
            fields["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {
                        "name": call.function.name,
                        "arguments": _arguments(call, f"messages.{index}.tool_calls.{place}"),
                    },
                }
                for place, call in enumerate(message.tool_calls)
            ]
    return fields


def _text(content: Text | None) -> str:
    if content is None:
        return ""
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


def _arguments(call: ToolCall, place: str) -> dict[str, Any]:
    """Templates write arguments as JSON themselves."""
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except (ValueError, RecursionError) as error:
        msg = f"{place}.function.arguments is not JSON: {error}"
        raise InvalidRequestError(msg, parameter="messages") from error
    if not isinstance(arguments, dict):
        msg = f"{place}.function.arguments must be a JSON object"
        raise InvalidRequestError(msg, parameter="messages")
    return arguments
