"""Items of a request's input."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from stagegate.server.openai.fields import OpenFields
from stagegate.server.responses_api.typed_objects import only_types

_TEXT_ONLY = "the models here read text alone"


class TextPart(OpenFields):
    type: Literal["input_text", "output_text"]
    text: str


class RefusalPart(OpenFields):
    type: Literal["refusal"]
    refusal: str


ContentPart = Annotated[
    TextPart | RefusalPart,
    Field(discriminator="type"),
    only_types(
        *("input_text", "output_text", "refusal"),
        hints=dict.fromkeys(("input_image", "input_file", "input_audio"), _TEXT_ONLY),
    ),
]


def _text_or_list(value: Any) -> str:
    return "list" if isinstance(value, list) else "text"


Content = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[ContentPart], Tag("list"), Field(fail_fast=True)],
    Discriminator(_text_or_list),
]


class MessageItem(OpenFields):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content


class FunctionCallItem(OpenFields):
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str = Field(description="a JSON object, as text")


class FunctionCallOutputItem(OpenFields):
    type: Literal["function_call_output"]
    call_id: str
    output: Content


class ReasoningPart(OpenFields):
    text: str


class ReasoningItem(OpenFields):
    """If the content is missing, the summary is used."""

    type: Literal["reasoning"]
    summary: list[ReasoningPart] | None = None
    content: list[ReasoningPart] | None = None


InputItem = Annotated[
    MessageItem | FunctionCallItem | FunctionCallOutputItem | ReasoningItem,
    Field(discriminator="type"),
    only_types(
        *("message", "function_call", "function_call_output", "reasoning"),
        default="message",
        hints={
            "item_reference": "nothing is stored here, so send the item itself, as clients do "
            "with store: false"
        },
    ),
]

Input = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[list[InputItem], Tag("list"), Field(fail_fast=True, min_length=1)],
    Discriminator(_text_or_list),
]
