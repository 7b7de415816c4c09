"""State shared by the routes of one server."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stagegate.errors import EngineDeadError
from stagegate.server.http.lifetime import OpenRequests

if TYPE_CHECKING:
    from stagegate.server.http.limits import ClientLimit
    from stagegate.server.http.metrics import Metrics
    from stagegate.server.http.models import ServedModels
    from stagegate.server.http.settings import ServerSettings


@dataclass(slots=True, weakref_slot=True)
class Serving:
    """started: seconds since 1970. draining: new work is refused."""

    models: ServedModels
    settings: ServerSettings
    metrics: Metrics
    clients: ClientLimit
    open_requests: OpenRequests = field(default_factory=OpenRequests)
    started: float = field(default_factory=time.time)
    draining: bool = False

    def check_open(self) -> None:
        """Raises EngineDeadError while the server shuts down."""
        if self.draining:
            msg = "the server is shutting down"
            raise EngineDeadError(msg)

    def close(self) -> None:
        """End the engines and free their memory. Waits for their steps."""
        self.draining = True
        self.models.close()
