"""/v1/chat/completions: from the request to the engine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from stagegate.errors import InvalidRequestError, TokenizerError
from stagegate.server.openai.chat_output import ChatAnswer, ChatEvents, ChatForm
from stagegate.server.openai.generation import Generation
from stagegate.server.openai.messages import template_messages
from stagegate.server.openai.params import GRAMMAR_FIELDS, sampling_params, stated_grammar
from stagegate.server.openai.streaming import stream_usage
from stagegate.server.openai.tool_choice import tool_choice
from stagegate.structured.grammar_matcher import has_special_tags
from stagegate.text.reasoning import OPEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stagegate.sampling import SamplingParams
    from stagegate.server.http.models import ServedModel
    from stagegate.server.openai.messages import Message
    from stagegate.server.openai.protocol import ChatCompletionRequest
    from stagegate.server.openai.tool_choice import ToolChoice
    from stagegate.structured.grammar import Grammar

_SLOW_FIELDS = frozenset(("tools", *GRAMMAR_FIELDS))


async def chat_form(
    request: ChatCompletionRequest,
    model: ServedModel,
    ids: tuple[str, str | None],
    *,
    reasoning: bool,
    open_schemas: bool = False,
) -> ChatForm:
    """The request to the engine, and the format of the answer.

    reasoning, open_schemas: as in ServerSettings.

    Raises InvalidRequestError naming the field at fault.
    """
    _check(request)
    if request.separate_reasoning is not None:
        reasoning = request.separate_reasoning
    choose = partial(_tool_choice, request, reasoning=reasoning, open_schemas=open_schemas)
    # Checking a grammar takes milliseconds, and longer for many tools.
    is_slow = not _SLOW_FIELDS.isdisjoint(request.model_fields_set)
    tools = await asyncio.to_thread(choose) if is_slow else choose()
    variables = dict(request.chat_template_kwargs or {})
    if request.reasoning_effort is not None:
        variables.setdefault("reasoning_effort", request.reasoning_effort)
    text = chat_text(model, request.messages, tools=tools.tools, variables=variables)
    thinking = text.rstrip().endswith(OPEN)
    grammar = tools.grammar
    if grammar is not None and reasoning:
        grammar = grammar.after_reasoning(begun=thinking)
    params = _params(request, model, grammar, reads_tags=reasoning or tools.tools is not None)
    # The template has written the special tokens.
    prompt = await model.client.encode(text, add_special_tokens=False)
    return ChatForm(
        Generation(model, *ids, [prompt], params, priority=request.priority or 0),
        tools,
        reasoning=reasoning,
        thinking=thinking,
    )


def chat_output(request: ChatCompletionRequest, form: ChatForm) -> ChatAnswer | ChatEvents:
    """What turns deltas into the answer."""
    if not request.stream:
        return ChatAnswer(form)
    return ChatEvents(form, stream_usage(request))


def chat_text(
    model: ServedModel,
    messages: Sequence[Message],
    *,
    tools: Sequence[dict[str, Any]] | None,
    add_generation_prompt: bool = True,
    variables: Mapping[str, Any] | None = None,
) -> str:
    """A conversation in the checkpoint's template; variables: other variables of the template.

    Raises InvalidRequestError for messages that the template cannot render, if there is no
    template, and for variables that a request may not set.
    """
    variables = variables or {}
    for name in ("messages", "tools", "add_generation_prompt", "self"):
        if name in variables:
            msg = f"chat_template_kwargs cannot set {name!r}"
            raise InvalidRequestError(msg, parameter="chat_template_kwargs")
    try:
        template = model.client.chat_template
    except TokenizerError as error:
        msg = f"the model {model.name!r} cannot chat: {error}"
        raise InvalidRequestError(msg, parameter="messages") from error
    return template.render(
        template_messages(messages),
        tools=tools,
        add_generation_prompt=add_generation_prompt,
        **variables,
    )


def _tool_choice(
    request: ChatCompletionRequest, *, reasoning: bool, open_schemas: bool
) -> ToolChoice:
    answer = stated_grammar(request, open_schemas=open_schemas)
    return tool_choice(request, answer, reasoning=reasoning, open_schemas=open_schemas)


def _check(request: ChatCompletionRequest) -> None:
    if request.stream_options is not None and not request.stream:
        msg = "stream_options needs stream"
        raise InvalidRequestError(msg, parameter="stream_options")
    if request.top_logprobs and not request.logprobs:
        msg = "top_logprobs needs logprobs"
        raise InvalidRequestError(msg, parameter="top_logprobs")
    if request.max_tokens == 0:
        msg = "max_tokens must be at least 1"
        raise InvalidRequestError(msg, parameter="max_tokens")


def _params(
    request: ChatCompletionRequest,
    model: ServedModel,
    grammar: Grammar | None,
    *,
    reads_tags: bool,
) -> SamplingParams:
    client = model.client
    params = sampling_params(
        request,
        client,
        max_tokens=request.max_completion_tokens or request.max_tokens,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        grammar=grammar,
    )
    if reads_tags and request.skip_special_tokens is None and has_special_tags(client.tokenizer):
        return replace(params, skip_special_tokens=False)
    return params
