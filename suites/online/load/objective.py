"""Latency objectives of a request."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from suites.online.load.errors import LoadError
from suites.online.load.request_result import RequestResult


@dataclass(frozen=True, slots=True)
class Objective:
    """Limits in milliseconds; None is no limit. Raises LoadError if there is no limit at all."""

    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.ttft, self.tpot, self.e2e) if limit is not None]
        if not limits or not all(math.isfinite(limit) and limit > 0 for limit in limits):
            msg = f"an SLO needs limits that are positive milliseconds, got {limits or 'none'}"
            raise LoadError(msg)

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Like ttft=200,tpot=50,e2e=5000. Raises LoadError."""
        names = [field.name for field in fields(cls)]
        limits: dict[str, float] = {}
        for part in text.split(","):
            name, _, limit = part.partition("=")
            try:
                if name not in names or name in limits:
                    raise ValueError
                limits[name] = float(limit)
            except ValueError:
                msg = f"--slo {text}: {part!r} is no NAME=MILLISECONDS with {', '.join(names)}"
                raise LoadError(msg) from None
        return cls(**limits)

    def is_met(self, result: RequestResult) -> bool:
        """Not by a failed request, nor, under a limit on TTFT, by an empty answer. An answer of one
        token has no TPOT to be broken."""
        if result.failure is not None:
            return False
        if self.ttft is not None and (result.ttft_ms is None or result.ttft_ms > self.ttft):
            return False
        if self.tpot is not None and result.tpot_ms is not None and result.tpot_ms > self.tpot:
            return False
        return self.e2e is None or result.e2e_ms <= self.e2e
