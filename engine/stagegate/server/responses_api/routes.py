"""Routes of responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from fastapi import APIRouter, Request
from fastapi import Response as HttpResponse

from stagegate.server.http.errors import RequestNotFoundError
from stagegate.server.openai.documentation import REFUSALS, errors, events
from stagegate.server.openai.generation import request_ids
from stagegate.server.openai.generation_response import AnswerResponse, StreamResponse
from stagegate.server.responses_api.chat_request import response_form
from stagegate.server.responses_api.events import ResponseAnswer, ResponseEvents
from stagegate.server.responses_api.output import ResponseOutput
from stagegate.server.responses_api.request import ResponsesRequest
from stagegate.server.responses_api.response_object import Response, settings_of

if TYPE_CHECKING:
    from stagegate.server.http.serving import Serving

_EVENTS = events(
    "The response; with stream, its events: response.created, those of its items, and "
    "response.completed, response.incomplete or response.failed.",
)


def responses_routes(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["generation"])

    @router.post(
        "/v1/responses",
        response_model=Response,
        response_model_exclude_unset=True,
        responses=_EVENTS | errors(*REFUSALS, 404, 429, 500, 503, 504),
    )
    async def create(body: ResponsesRequest, request: Request) -> HttpResponse:
        """Answer a conversation with items: text, calls of functions, reasoning."""
        serving.check_open()
        model = serving.models.find(body.model)
        ids = request_ids(request, "resp_", body.request_id)
        settings = serving.settings
        form = await response_form(
            body, model, ids, reasoning=settings.reasoning, open_schemas=settings.open_schemas
        )
        output = ResponseOutput(form, settings_of(body, form.generation.params))
        if body.stream:
            stream = ResponseEvents(output)
            return StreamResponse(serving, form.generation, stream, failure=stream.failure)
        return AnswerResponse(serving, form.generation, ResponseAnswer(output))

    @router.get("/v1/responses/{response_id}", responses=errors(*REFUSALS, 404))
    async def retrieve(response_id: str) -> Response:
        """Never finds one: nothing is stored."""
        _not_stored(response_id)

    @router.delete("/v1/responses/{response_id}", responses=errors(*REFUSALS, 404))
    async def delete(response_id: str) -> Response:
        """Never finds one: nothing is stored."""
        _not_stored(response_id)

    return router


def _not_stored(response_id: str) -> NoReturn:
    msg = f"no response {response_id[:64]!r}: this server stores none"
    raise RequestNotFoundError(msg, parameter="response_id")
