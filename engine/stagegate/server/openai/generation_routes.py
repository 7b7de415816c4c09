"""The routes that generate, and the route that cancels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from stagegate.server.http.auth import client_of
from stagegate.server.http.errors import RequestNotFoundError
from stagegate.server.openai.chat import chat_form, chat_output
from stagegate.server.openai.chat_output import ChatEvents
from stagegate.server.openai.completion_output import CompletionEvents
from stagegate.server.openai.completions import completion_generation, completion_output
from stagegate.server.openai.documentation import REFUSALS, errors, streaming
from stagegate.server.openai.generation import request_ids
from stagegate.server.openai.generation_response import AnswerResponse, StreamResponse
from stagegate.server.openai.protocol import ChatCompletionRequest, CompletionRequest
from stagegate.server.openai.responses import (
    CancelAnswer,
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
)

if TYPE_CHECKING:
    from stagegate.server.http.serving import Serving


def generation_routes(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["generation"])

    @router.post(
        "/v1/chat/completions",
        response_model=ChatCompletion,
        response_model_exclude_unset=True,
        responses=streaming(ChatCompletionChunk) | errors(*REFUSALS, 404, 429, 500, 503, 504),
    )
    async def chat_completions(body: ChatCompletionRequest, request: Request) -> Response:
        """Answer a conversation."""
        serving.check_open()
        model = serving.models.find(body.model)
        ids = request_ids(request, "chatcmpl-", body.request_id)
        settings = serving.settings
        form = await chat_form(
            body, model, ids, reasoning=settings.reasoning, open_schemas=settings.open_schemas
        )
        output = chat_output(body, form)
        if isinstance(output, ChatEvents):
            return StreamResponse(serving, form.generation, output)
        return AnswerResponse(serving, form.generation, output)

    @router.post(
        "/v1/completions",
        response_model=Completion,
        response_model_exclude_unset=True,
        responses=streaming(Completion) | errors(*REFUSALS, 404, 429, 500, 503, 504),
    )
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Continue texts."""
        serving.check_open()
        model = serving.models.find(body.model)
        ids = request_ids(request, "cmpl-", body.request_id)
        generation = await completion_generation(
            body, model, ids, open_schemas=serving.settings.open_schemas
        )
        output = completion_output(body, generation)
        if isinstance(output, CompletionEvents):
            return StreamResponse(serving, generation, output)
        return AnswerResponse(serving, generation, output)

    @router.post("/v1/requests/{request_id}/cancel", responses=errors(*REFUSALS, 404))
    async def cancel(request_id: str, request: Request) -> CancelAnswer:
        """End a request by the id of its answer, or by the X-Request-Id the same client gave it. It
        answers with what it has, and finish_reason abort."""
        names = (None, request_id), (client_of(request.scope), request_id)
        cancelled = [await serving.open_requests.cancel(name) for name in names]
        if not any(cancelled):
            msg = f"no request {request_id!r} is running"
            raise RequestNotFoundError(msg, parameter="request_id")
        return CancelAnswer(id=request_id)

    return router
