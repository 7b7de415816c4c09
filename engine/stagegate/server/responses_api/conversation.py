"""Conversion of input items to chat messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stagegate.errors import InvalidRequestError
from stagegate.server.responses_api.input_items import (
    FunctionCallItem,
    FunctionCallOutputItem,
    MessageItem,
    ReasoningItem,
    RefusalPart,
)

if TYPE_CHECKING:
    from stagegate.server.responses_api.input_items import Content, Input, InputItem

ChatMessage = dict[str, Any]


def chat_messages(instructions: str | None, given: Input) -> list[ChatMessage]:
    """Messages of a chat completion's request.

    An assistant's turn is several items but one message: its reasoning, its text and its calls, in
    this order. Raises InvalidRequestError naming the wrong item.
    """
    messages: list[ChatMessage] = []
    if instructions is not None:
        messages.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        messages.append({"role": "user", "content": given})
        return messages
    called: set[str] = set()
    for index, item in enumerate(given):
        if isinstance(item, MessageItem) and item.role != "assistant":
            messages.append({"role": item.role, "content": _content(item.content)})
        elif isinstance(item, FunctionCallOutputItem):
            _check_called(item, called, index)
            messages.append(
                {
                    "role": "tool",
                    "tool_call_id": item.call_id,
                    "content": _content(item.output),
                }
            )
        else:
            if isinstance(item, FunctionCallItem):
                called.add(item.call_id)
            _add_to_turn(messages, item, index)
    return messages


def _add_to_turn(messages: list[ChatMessage], item: InputItem, index: int) -> None:
    """Add to the assistant's last message, or begin another."""
    turn: ChatMessage = messages[-1] if messages and messages[-1]["role"] == "assistant" else {}
    if isinstance(item, FunctionCallItem):
        turn = turn or _begin(messages)
        turn.setdefault("tool_calls", []).append(_tool_call(item, index))
    elif isinstance(item, ReasoningItem) and (thought := _thought(item)):
        if turn.keys() & {"content", "tool_calls"} or not turn:
            turn = _begin(messages)
        before = turn.get("reasoning_content")
        turn["reasoning_content"] = thought if before is None else f"{before}\n{thought}"
    elif isinstance(item, MessageItem):
        if turn.keys() & {"content", "tool_calls"} or not turn:
            turn = _begin(messages)
        turn["content"] = _content(item.content)


def _begin(messages: list[ChatMessage]) -> ChatMessage:
    turn: ChatMessage = {"role": "assistant"}
    messages.append(turn)
    return turn


def _content(content: Content) -> str | list[dict[str, str]]:
    if isinstance(content, str):
        return content
    return [
        {"type": "text", "text": part.refusal if isinstance(part, RefusalPart) else part.text}
        for part in content
    ]


def _thought(item: ReasoningItem) -> str:
    return "\n".join(part.text for part in item.content or item.summary or ())


def _tool_call(item: FunctionCallItem, index: int) -> dict[str, Any]:
    place = f"input.{index}.arguments"
    if item.arguments and not item.arguments.lstrip().startswith("{"):
        msg = f"{place} must be a JSON object, as text, got {item.arguments[:64]!r}"
        raise InvalidRequestError(msg, parameter=place)
    function = {"name": item.name, "arguments": item.arguments}
    return {"id": item.call_id, "type": "function", "function": function}


def _check_called(item: FunctionCallOutputItem, called: set[str], index: int) -> None:
    if item.call_id not in called:
        place = f"input.{index}.call_id"
        msg = (
            f"{place}: no function_call {item.call_id[:64]!r} comes before its output; "
            "nothing is stored here, so send the call too"
        )
        raise InvalidRequestError(msg, parameter=place)
