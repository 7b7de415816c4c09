"""/v1/completions: from the request to the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagegate.errors import InvalidRequestError
from stagegate.server.openai.completion_output import (
    CompletionAnswer,
    CompletionEvents,
    CompletionForm,
)
from stagegate.server.openai.generation import Generation
from stagegate.server.openai.params import sampling_params, stated_grammar
from stagegate.server.openai.streaming import stream_usage

if TYPE_CHECKING:
    from stagegate.sampling import SamplingParams
    from stagegate.server.http.models import ServedModel
    from stagegate.server.openai.protocol import CompletionRequest

MAX_CHOICES = 1024
_DEFAULT_MAX_TOKENS = 16


async def completion_generation(
    request: CompletionRequest,
    model: ServedModel,
    ids: tuple[str, str | None],
    *,
    open_schemas: bool = False,
) -> Generation:
    """open_schemas: as in ServerSettings. Raises InvalidRequestError naming the field at fault."""
    params = _params(request, model, open_schemas=open_schemas)
    special = request.add_special_tokens is not False
    prompts = [
        await model.client.encode(prompt, add_special_tokens=special)
        if isinstance(prompt, str)
        else prompt
        for prompt in _prompts(request)
    ]
    if len(prompts) * params.n > MAX_CHOICES:
        msg = f"{len(prompts)} prompts with n={params.n} are more than {MAX_CHOICES} choices"
        raise InvalidRequestError(msg, parameter="prompt")
    request_id, client_id = ids
    return Generation(model, request_id, client_id, prompts, params, priority=request.priority or 0)


def completion_output(
    request: CompletionRequest, generation: Generation
) -> CompletionAnswer | CompletionEvents:
    """What turns deltas into the answer."""
    form = CompletionForm(
        generation,
        echoes=_echoes(request, generation) if request.echo else None,
        only_echo=request.max_tokens == 0,
    )
    if not request.stream:
        return CompletionAnswer(form)
    return CompletionEvents(form, stream_usage(request))


def _params(
    request: CompletionRequest, model: ServedModel, *, open_schemas: bool
) -> SamplingParams:
    if request.stream_options is not None and not request.stream:
        msg = "stream_options needs stream"
        raise InvalidRequestError(msg, parameter="stream_options")
    max_tokens = _DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    if max_tokens == 0:
        if not request.echo:
            msg = "max_tokens=0 needs echo"
            raise InvalidRequestError(msg, parameter="max_tokens")
        max_tokens = 1  # the engine always samples one; it is omitted from the answer
    return sampling_params(
        request,
        model.client,
        max_tokens=max_tokens,
        logprobs=request.logprobs,
        prompt_logprobs=request.logprobs if request.echo else None,
        grammar=stated_grammar(request, open_schemas=open_schemas),
    )


def _prompts(request: CompletionRequest) -> list[str | list[int]]:
    prompt = request.prompt
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt[0], int):
        return [prompt]  # a list is all of one kind
    return list(prompt)


def _echoes(request: CompletionRequest, generation: Generation) -> list[str]:
    """Prompts as text: unchanged, or decoded from token ids."""
    tokenizer = generation.model.client.tokenizer
    return [
        prompt if isinstance(prompt, str) else tokenizer.decode(prompt, skip_special_tokens=False)
        for prompt in _prompts(request)
    ]
