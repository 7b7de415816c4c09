"""Settings of the server."""

from __future__ import annotations

from dataclasses import dataclass

from stagegate.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Limits and options of one server. Raises ConfigError naming a value that is out of range.

    api_keys: valid API keys; if empty, no key is needed.
    allowed_origins: origins whose pages a browser may let call the server; "*" is any.
    max_body_bytes: longest request body.
    body_timeout_s: for a body to arrive after its headers.
    request_timeout_s: for a request to be answered; its work is cancelled then.
    max_requests_per_client: requests of one API key, or of one address where there are no keys,
        that may generate at the same time; None is no limit.
    stall_s: the server is unhealthy when work waits and no step has finished for that long.
    reasoning: separate text between <think> and </think>, unless a request overrides it.
    open_schemas: let objects of JSON schemas have properties that the schema does not list, where
        it leaves additionalProperties out.
    """

    api_keys: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = 8 << 20
    body_timeout_s: float = 30.0
    request_timeout_s: float = 600.0
    max_requests_per_client: int | None = None
    stall_s: float = 60.0
    reasoning: bool = False
    open_schemas: bool = False

    def __post_init__(self) -> None:
        for name in ("max_body_bytes", "body_timeout_s", "request_timeout_s", "stall_s"):
            self._positive(name)
        if self.max_requests_per_client is not None:
            self._positive("max_requests_per_client")
        if any(not key.isascii() or not key.isprintable() or " " in key for key in self.api_keys):
            msg = "an API key must be made of printable ASCII characters without spaces"
            raise ConfigError(msg)
        if "" in self.api_keys:
            msg = "an API key must not be empty"
            raise ConfigError(msg)

    def _positive(self, name: str) -> None:
        value = getattr(self, name)
        if not value > 0:
            msg = f"{name} must be positive, got {value!r}"
            raise ConfigError(msg)
