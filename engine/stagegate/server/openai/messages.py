"""Messages of a conversation, in the format of the OpenAI API and in that of chat templates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from stagegate.errors import InvalidRequestError
from stagegate.server.openai.fields import OpenFields
from stagegate.text.call_arguments import CallArguments


def _must_be(wanted: str) -> PydanticCustomError:
    """An error stating what a value must be, in a text that may contain braces."""
    return PydanticCustomError("unsupported", "must be {wanted}", {"wanted": wanted})


def _only(*supported: str, optional: bool = False) -> BeforeValidator:
    """Refuses objects of another type."""
    *first, last = supported
    listed = f"{', '.join(first)} or {last}" if first else last

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _must_be(f"an object with type {listed}")
        kind = value.get("type")
        if kind in supported or (optional and kind is None):
            return value
        raise _must_be(f"of type {listed}" + ("" if kind is None else f", not {str(kind)[:64]}"))

    return BeforeValidator(check)


class TextPart(OpenFields):
    type: Literal["text"]
    text: str


class RefusalPart(OpenFields):
    """The text of an assistant's refusal, treated as any other text."""

    type: Literal["refusal"]
    refusal: str


def _content_kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    return "parts" if isinstance(value, list) else None


_Whole = Annotated[str, Tag("text")]
_CONTENT = Discriminator(
    _content_kind,
    custom_error_type="unsupported",
    custom_error_message="must be text or a list",
)
_TextPart = Annotated[TextPart, _only("text")]
_AnswerPart = Annotated[
    Annotated[TextPart | RefusalPart, Field(discriminator="type")],
    _only("text", "refusal"),
]
Text = Annotated[_Whole | Annotated[list[_TextPart], Tag("parts")], _CONTENT]
AnswerText = Annotated[_Whole | Annotated[list[_AnswerPart], Tag("parts")], _CONTENT]


class SystemMessage(OpenFields):
    role: Literal["system", "developer"]
    content: Text
    name: str | None = None


class UserMessage(OpenFields):
    role: Literal["user"]
    content: Text
    name: str | None = None


class CalledFunction(OpenFields):
    name: str
    arguments: str | dict[str, Any] | None = Field(
        default=None, description="a JSON object, mostly as text; it may have been cut off"
    )


class ToolCall(OpenFields):
    id: str
    type: Literal["function"] | None = None
    function: CalledFunction


def _is_absent(value: Any) -> Any:
    if value is not None:
        raise _must_be("null: it is not supported")
    return value


_Absent = Annotated[None, BeforeValidator(_is_absent)]


class AssistantMessage(OpenFields):
    """An answer, of this server or another."""

    role: Literal["assistant"]
    content: AnswerText | None = None
    refusal: str | None = Field(default=None, description="read as content")
    reasoning_content: str | None = None
    reasoning: str | None = Field(default=None, description="another name of reasoning_content")
    tool_calls: list[Annotated[ToolCall, _only("function", optional=True)]] | None = None
    name: str | None = None
    audio: _Absent = None
    function_call: _Absent = Field(default=None, description="tool_calls is supported instead")


class ToolMessage(OpenFields):
    role: Literal["tool"]
    content: Text
    tool_call_id: str
    name: str | None = None


Message = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


def template_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages in the format of Hugging Face chat templates."""
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
        fields |= _answer(message, f"messages.{index}")
    return fields


def _answer(message: AssistantMessage, place: str) -> dict[str, Any]:
    """The fields that only answers have."""
    fields: dict[str, Any] = {}
    content = _text(message.content)
    if message.refusal:
        content = f"{content}\n{message.refusal}" if content else message.refusal
    # A template may ask whether there is content besides calls.
    fields["content"] = "" if content is None and not message.tool_calls else content
    reasoning = message.reasoning_content or message.reasoning
    if reasoning is not None:
        fields["reasoning_content"] = reasoning
    if message.tool_calls:
        fields["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": _arguments(call, f"{place}.tool_calls.{number}"),
                },
            }
            for number, call in enumerate(message.tool_calls)
        ]
    return fields


def _text(content: str | Sequence[TextPart | RefusalPart] | None) -> str | None:
    if content is None or isinstance(content, str):
        return content
    return "\n".join(part.text if isinstance(part, TextPart) else part.refusal for part in content)


def _arguments(call: ToolCall, place: str) -> CallArguments | str:
    """An object; or its text if it is not JSON because it was cut off or the model erred."""
    written = call.function.arguments
    if isinstance(written, dict):
        return CallArguments(written, json.dumps(written, ensure_ascii=False))
    written = written or "{}"
    try:
        value = json.loads(written, parse_constant=_not_json)
        json.dumps(value, allow_nan=False)  # 1e400 is infinite
    except (ValueError, RecursionError):
        if written.lstrip().startswith("{"):
            return written
        value = None
    if isinstance(value, dict):
        return CallArguments(value, written)
    msg = f"{place}.function.arguments must be a JSON object, got {written[:64]!r}"
    raise InvalidRequestError(msg, parameter="messages")


def _not_json(name: str) -> None:
    msg = f"{name} is not JSON"
    raise ValueError(msg)
