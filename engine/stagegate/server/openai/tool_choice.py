"""tool_choice: what the model may call, must call, and how it is made to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stagegate.errors import InvalidRequestError
from stagegate.server.openai.protocol import NamedToolChoice
from stagegate.server.openai.structured_outputs import grammar_by

if TYPE_CHECKING:
    from stagegate.server.openai.protocol import ChatCompletionRequest, FunctionDefinition
    from stagegate.structured.grammar import Grammar


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """tools: the tools that the template shows, in the request's format; None shows none.

    forced: the text is a call, or calls, and nothing else.
    grammar: the text after the reasoning must match it; None leaves the text free.
    parallel: whether there may be more than one call.
    name: of the function that a forced call can only be of.
    """

    tools: list[dict[str, Any]] | None = None
    forced: bool = False
    grammar: Grammar | None = None
    parallel: bool = True
    name: str | None = None


def tool_choice(
    request: ChatCompletionRequest,
    answer: Grammar | None,
    *,
    reasoning: bool,
    open_schemas: bool = False,
) -> ToolChoice:
    """answer: what a text without calls must be; forced calls ignore it.

    reasoning: it is split off the text. open_schemas: as in ServerSettings.

    Raises InvalidRequestError for a choice the tools do not allow.
    """
    functions = {tool.function.name: tool.function for tool in request.tools or ()}
    choice = request.tool_choice
    if not functions and (isinstance(choice, NamedToolChoice) or choice in {"auto", "required"}):
        msg = "tool_choice needs tools"
        raise InvalidRequestError(msg, parameter="tool_choice")
    if not functions or choice == "none":
        return ToolChoice(grammar=answer)
    tools = [tool.model_dump(exclude_unset=True) for tool in request.tools or ()]
    parallel = request.parallel_tool_calls is not False
    if isinstance(choice, NamedToolChoice):
        name = choice.function.name
        if name not in functions:
            msg = f"tool_choice names {name!r}, but the tools are {', '.join(functions)}"
            raise InvalidRequestError(msg, parameter="tool_choice")
        functions, parallel = {name: functions[name]}, False
    forced = isinstance(choice, NamedToolChoice) or choice == "required"
    if not forced and answer is None and parallel:
        return ToolChoice(tools)
    arguments = {
        name: _arguments(function, closed=not open_schemas, must_fit=forced)
        for name, function in functions.items()
    }

    def text(_: type[Grammar]) -> Grammar:
        from stagegate.structured.tool_grammar import calls, calls_or_answer, text_then_call

        if forced:
            return calls(arguments, parallel=parallel)
        if answer is not None:
            return calls_or_answer(arguments, answer, parallel=parallel)
        return text_then_call(arguments, reasoning=reasoning)

    return ToolChoice(
        tools,
        forced=forced,
        grammar=grammar_by("tools", text),
        parallel=parallel,
        name=next(iter(functions)) if forced and len(functions) == 1 else None,
    )


def _arguments(function: FunctionDefinition, *, closed: bool, must_fit: bool) -> Grammar:
    """The grammar of a function's arguments; those of a function without parameters are empty.

    must_fit: refuse parameters that cannot be enforced. A call that the model chooses itself may
    then have any arguments, as without a grammar.
    """
    parameters = function.parameters or {"properties": {}}
    try:
        if not _may_be_object(parameters):
            msg = "a function takes an object; set type to object"
            raise InvalidRequestError(msg, parameter="tools")
        schema = {**parameters, "type": "object"}
        return grammar_by("tools", lambda kind: kind.json_schema(schema, closed=closed))
    except InvalidRequestError as error:
        if not must_fit:
            return grammar_by("tools", lambda kind: kind.json_object())
        msg = f"the parameters of {function.name}: {error}"
        raise InvalidRequestError(msg, parameter="tools") from error


def _may_be_object(schema: dict[str, Any]) -> bool:
    stated = schema.get("type", "object")
    return stated == "object" or (isinstance(stated, list) and "object" in stated)
