"""tool_choice: what the model may call, must call, and how it is made to."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.errors import InvalidRequestError
from engine.server.guided import guided_by
from engine.server.protocol import NamedToolChoice
from engine.tool_calls import CLOSE, OPEN

if TYPE_CHECKING:
    from engine.guidance import Guidance
    from engine.server.protocol import ChatCompletionRequest, FunctionDefinition

_ANY_ARGUMENTS: dict[str, Any] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """tools: what the template shows, in the form of the request; None shows none.

    prefix, suffix: a forced call is written around what the model generates, in the form the model
    itself writes calls; prefix ends the prompt, so the model sees it as its own.
    guidance: what the generated text must be then.
    parallel: whether there may be more than one call.
    """

    tools: list[dict[str, Any]] | None = None
    prefix: str = ""
    suffix: str = ""
    guidance: Guidance | None = None
    parallel: bool = True

    @property
    def forced(self) -> bool:
        return self.guidance is not None


def tool_choice(request: ChatCompletionRequest) -> ToolChoice:
    """Raises InvalidRequestError for a choice the tools do not allow."""
    functions = {tool.function.name: tool.function for tool in request.tools or ()}
    choice = request.tool_choice
    if not functions:
        if isinstance(choice, NamedToolChoice) or choice in {"auto", "required"}:
            msg = "tool_choice needs tools"
            raise InvalidRequestError(msg, parameter="tool_choice")
        return ToolChoice()
    tools = [tool.model_dump(exclude_unset=True) for tool in request.tools or ()]
    if isinstance(choice, NamedToolChoice):
        return _named(tools, functions, choice.function.name)
    if choice == "none":
        return ToolChoice()
    if choice in {None, "auto"}:
        return ToolChoice(tools, parallel=request.parallel_tool_calls is not False)
    if len(functions) == 1:
        return _named(tools, functions, next(iter(functions)))
    return ToolChoice(
        tools,
        prefix=f"{OPEN}\n",
        suffix=f"\n{CLOSE}",
        guidance=_schema(_any_call(list(functions.values()))),
        parallel=False,
    )


def _named(
    tools: list[dict[str, Any]], functions: dict[str, FunctionDefinition], name: str
) -> ToolChoice:
    if name not in functions:
        msg = f"tool_choice names {name!r}, but the tools are {', '.join(functions)}"
        raise InvalidRequestError(msg, parameter="tool_choice")
    return ToolChoice(
        tools,
        prefix=f'{OPEN}\n{{"name": "{name}", "arguments": ',
        suffix=f"}}\n{CLOSE}",
        guidance=_schema(functions[name].parameters or _ANY_ARGUMENTS),
        parallel=False,
    )


def _schema(schema: dict[str, Any]) -> Guidance:
    return guided_by("tools", lambda kind: kind.json_schema(schema))


def _any_call(functions: list[FunctionDefinition]) -> dict[str, Any]:
    """Schema of a call of one of the functions."""
    definitions: dict[str, Any] = {}
    calls = []
    for function in functions:
        parameters = copy.copy(function.parameters or _ANY_ARGUMENTS)
        # References are from the root of the schema.
        for name, definition in parameters.pop("$defs", {}).items():
            if definitions.setdefault(name, definition) != definition:
                msg = f"two tools define $defs.{name} differently; rename one"
                raise InvalidRequestError(msg, parameter="tools")
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": function.name}, "arguments": parameters},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": calls, "$defs": definitions} if definitions else {"anyOf": calls}
