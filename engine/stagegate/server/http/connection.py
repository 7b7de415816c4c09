"""Limits on connections, below HTTP: their number, their speed, the size of headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stagegate.server.http.errors import ApiError

if TYPE_CHECKING:
    import asyncio


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """max_connections: further connections are closed immediately.

    max_header_bytes, header_timeout_s: of the request line and headers of one request.
    write_timeout_s: how long a client may leave its buffers full before it is cut off.
    """

    max_connections: int = 4096
    max_header_bytes: int = 64 << 10
    header_timeout_s: float = 15.0
    write_timeout_s: float = 60.0


class LimitedConnection(HttpToolsProtocol):
    """uvicorn's connection with additional limits. Subclasses set them."""

    limits: ClassVar[ConnectionLimits]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_headers = True
        self._header_bytes = 0
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            transport.close()
        else:
            self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_header_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_headers and self._header_bytes > self.limits.max_header_bytes:
            self._refuse_headers()
        elif self._in_headers or self._is_idle():
            self._watch_headers()

    def on_message_begin(self) -> None:
        self._in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._header_bytes = 0
        self._stop_header_timer()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.limits.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def _is_idle(self) -> bool:
        """Handle bytes that begin no request, such as a line end, and stop uvicorn's own timer."""
        answered = self.cycle is not None and self.cycle.response_complete
        return answered and self.timeout_keep_alive_task is None

    def _watch_headers(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(
                self.limits.header_timeout_s, self.transport.close
            )

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _refuse_headers(self) -> None:
        most = self.limits.max_header_bytes
        body = ApiError(431, f"the headers are longer than {most} bytes").to_json()
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body.encode())
        )
        self.transport.close()


def limited_connection(limits: ConnectionLimits) -> type[LimitedConnection]:
    """The class that uvicorn instantiates for each connection."""
    return type("LimitedConnection", (LimitedConnection,), {"limits": limits})
