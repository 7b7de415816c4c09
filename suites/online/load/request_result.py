"""The outcome of one request."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any


class Failure(StrEnum):
    """RATE_LIMITED: status 429. BROKEN_STREAM: status 200, but no events of an answer up to
    [DONE]. CONNECTION: ended before there was a status."""

    RATE_LIMITED = "429"
    CLIENT_ERROR = "4xx"
    SERVER_ERROR = "5xx"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    BROKEN_STREAM = "broken stream"


@dataclass(slots=True)
class RequestResult:
    """Times in seconds since the load began. intended: when it should have been sent; latencies
    count from there. token_times: of each chunk in which something generated arrived.

    prompt_tokens, completion_tokens, cached_tokens: as the server says; None where it does not.
    """

    conversation: int
    turn: int
    intended: float
    started: float
    token_times: list[float] = field(default_factory=list)
    ended: float = 0.0
    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    status: int | None = None
    failure: Failure | None = None
    message: str = ""

    @property
    def output_tokens(self) -> int:
        """By usage; by chunks where there is none, which counts merged tokens as one."""
        if self.completion_tokens is None:
            return len(self.token_times)
        return self.completion_tokens

    @property
    def ttft_ms(self) -> float | None:
        """To the first token; None for an empty answer."""
        return 1e3 * (self.token_times[0] - self.intended) if self.token_times else None

    @property
    def tpot_ms(self) -> float | None:
        """Mean time a token after the first; None for an answer without a second."""
        if self.output_tokens < 2 or not self.token_times:
            return None
        return 1e3 * (self.token_times[-1] - self.token_times[0]) / (self.output_tokens - 1)

    @property
    def itl_ms(self) -> list[float]:
        """Between one chunk with tokens and the next."""
        return [1e3 * (after - before) for before, after in pairwise(self.token_times)]

    @property
    def e2e_ms(self) -> float:
        """To the end of the stream."""
        return 1e3 * (self.ended - self.intended)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the text, which the seed gives again."""
        names = [name for name in self.__slots__ if name != "text"]
        return {name: getattr(self, name) for name in names}
