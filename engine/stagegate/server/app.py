"""The application: routes, limits, and a uniform error format."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from stagegate.errors import StagegateError
from stagegate.server.http.auth import ApiKeyAuth
from stagegate.server.http.cut_off import CutOffAnswers
from stagegate.server.http.faults import AnswerFaults, answer_to, subject_of
from stagegate.server.http.limits import BodyLimit, ClientLimit
from stagegate.server.http.metrics import CountResponses, Metrics
from stagegate.server.http.models import ServedModels
from stagegate.server.http.serving import Serving
from stagegate.server.openai.documentation import document
from stagegate.server.openai.generation_routes import generation_routes
from stagegate.server.openai.model_routes import model_routes
from stagegate.server.responses_api.routes import responses_routes
from stagegate.server.status_routes import status_routes

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from stagegate.server.http.settings import ServerSettings
    from stagegate.serving.client import EngineClient

WEBUI = Path(__file__).parent / "webui"
# Browsers revalidate every file, so the parts of the page match after an update of the server.
# Nothing is loaded from other origins, and the page cannot be framed.
PAGE_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
}


def create_app(models: Mapping[str, EngineClient], settings: ServerSettings) -> FastAPI:
    """An application that serves models by name; it starts and closes their engines.

    Raises ConfigError if there is no model.
    """
    served = ServedModels(models)
    serving = Serving(
        served, settings, Metrics(served), ClientLimit(settings.max_requests_per_client)
    )
    app = FastAPI(
        title="Stagegate",
        description="OpenAI-compatible inference.",
        version=_version(),
        lifespan=partial(_lifespan, serving),
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.serving = serving
    # FastAPI remembers the functions of routes for the life of the process, and they would keep the
    # engines of an application that was dropped.
    for routes in (generation_routes, responses_routes, model_routes, status_routes):
        app.include_router(routes(weakref.proxy(serving)))
    _add_page(app)
    _add_middleware(app, serving)
    for error in (StagegateError, RequestValidationError, HTTPException):
        app.add_exception_handler(error, _answer_error)
    app.openapi = partial(document, app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(serving: Serving, app: FastAPI) -> AsyncIterator[None]:
    try:
        for model in serving.models.values():
            model.client.start()
        yield
    finally:
        # The requests have ended or were given up; joining a thread takes up to one step.
        await asyncio.to_thread(serving.close)


def _add_middleware(app: FastAPI, serving: Serving) -> None:
    """Add middleware, the outermost last: even a refusal for a missing key has CORS headers."""
    settings = serving.settings
    app.add_middleware(
        BodyLimit, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s
    )
    app.add_middleware(ApiKeyAuth, api_keys=settings.api_keys)
    app.add_middleware(AnswerFaults)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),  # clients add their own, such as X-Stainless-OS
            expose_headers=("X-Request-Id", "Retry-After"),
        )
    app.add_middleware(CutOffAnswers, serving=serving)
    app.add_middleware(CountResponses, metrics=serving.metrics)


def _add_page(app: FastAPI) -> None:
    page = WEBUI / "index.html"

    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(page, headers=PAGE_HEADERS)

    # A missing page does not keep the API from starting.
    app.mount("/webui", PageFiles(directory=WEBUI, check_dir=False), name="webui")


class PageFiles(StaticFiles):
    """Serves the files of the page with its headers."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(PAGE_HEADERS)
        return response


async def _answer_error(request: Request, error: Exception) -> Response:
    return answer_to(error, subject_of(request.scope)).response()


def _version() -> str:
    try:
        return version("stagegate")
    except PackageNotFoundError:  # run from a source tree
        return "0"
