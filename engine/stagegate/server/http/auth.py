"""API keys, and the identity of clients."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from stagegate.server.http.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

_PROTECTED = ("/v1/", "/tokenize", "/detokenize")
_CLIENT = "stagegate.client"


class ApiKeyAuth:
    """ASGI middleware: /v1/*, /tokenize and /detokenize need one of the keys.

    Pages, health and metrics stay open. If no keys are set, everything is open.
    """

    def __init__(self, app: ASGIApp, *, api_keys: Sequence[str]) -> None:
        self._app = app
        self._keys = [key.encode() for key in api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._keys and scope["path"].startswith(_PROTECTED):
            key = _bearer(scope)
            # All are compared, each in constant time: the time taken tells nothing about a key.
            matches = [hmac.compare_digest(key, known) for known in self._keys]
            if not any(matches):
                error = ApiError(
                    401,
                    "a valid API key is needed, as Authorization: Bearer KEY",
                    type="authentication_error",
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )
                await error.response()(scope, receive, send)
                return
            scope[_CLIENT] = key.decode()
        await self._app(scope, receive, send)


def client_of(scope: Scope) -> str:
    """The client of a request: its API key, or its address if there are no keys."""
    key: str | None = scope.get(_CLIENT)
    if key is not None:
        return key
    address = scope.get("client")
    return "" if address is None else str(address[0])


def _bearer(scope: Scope) -> bytes:
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    return key.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
