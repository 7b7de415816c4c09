"""Routes for health, readiness, metrics and statistics."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from stagegate.errors import EngineDeadError
from stagegate.server.openai.documentation import errors, text
from stagegate.server.openai.responses import ModelStats, StatsAnswer, StatusAnswer

if TYPE_CHECKING:
    from stagegate.server.http.serving import Serving


def status_routes(serving: Serving) -> APIRouter:
    router = APIRouter(tags=["status"])

    @router.get("/health", responses=errors(400, 408, 413, 503))
    async def health() -> StatusAnswer:
        """Whether every engine runs: 503 when a loop has ended, or when work waits and no step
        has finished for the stall time."""
        _check_health(serving)
        return StatusAnswer()

    @router.get("/ready", responses=errors(400, 408, 413, 503))
    async def ready() -> StatusAnswer:
        """Whether new work is accepted."""
        serving.check_open()
        _check_health(serving)
        return StatusAnswer()

    @router.get(
        "/metrics",
        response_class=Response,
        responses=text("text/plain", "The metrics.") | errors(400, 408, 413, 503),
    )
    async def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(serving.metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @router.get("/v1/stats", responses=errors(400, 401, 408, 413, 503))
    async def stats() -> StatsAnswer:
        """Current state of the engines, and counts since the start."""
        return StatsAnswer(
            uptime_s=time.time() - serving.started,
            models={
                name: ModelStats(**asdict(model.client.stats()))
                for name, model in serving.models.items()
            },
        )

    return router


def _check_health(serving: Serving) -> None:
    for name, model in serving.models.items():
        if not model.client.is_healthy(serving.settings.stall_s):
            msg = f"the engine of {name!r} has ended or stalled; see the server's log"
            raise EngineDeadError(msg)
