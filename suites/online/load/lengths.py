"""Lengths of prompts and answers, in tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from suites.online.load.errors import LoadError

FORMS = "TOKENS, uniform:LOW:HIGH or lognormal:MEDIAN:SIGMA:MAX"


@dataclass(frozen=True, slots=True)
class Lengths:
    """A log-normal length, rounded and cut to low..high; with sigma 0 uniform in low..high.

    median: of the log-normal before the cut; sigma: of its logarithm. Raises LoadError.
    """

    low: int
    high: int
    median: float = 1.0
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            msg = f"lengths go from 1 token up, low to high, got {self.low} to {self.high}"
            raise LoadError(msg)
        if not (math.isfinite(self.sigma) and self.sigma >= 0 and self.median >= 1):
            msg = (
                "a log-normal length needs a median of 1 or more and a finite sigma of 0 or more, "
                f"got {self.median} and {self.sigma}"
            )
            raise LoadError(msg)

    @classmethod
    def fixed(cls, tokens: int) -> Lengths:
        return cls(tokens, tokens)

    @classmethod
    def parse(cls, text: str) -> Lengths:
        """One of FORMS. Raises LoadError."""
        kind, *numbers = text.split(":")
        try:
            if not numbers:
                return cls.fixed(int(kind))
            if kind == "uniform":
                low, high = map(int, numbers)
                return cls(low, high)
            if kind == "lognormal":
                median, sigma, most = numbers
                return cls(1, int(most), float(median), float(sigma))
        except LoadError:
            raise
        except ValueError:
            pass
        msg = f"{text!r} is no length; wanted: {FORMS}"
        raise LoadError(msg)

    def draw(self, rng: np.random.Generator) -> int:
        if not self.sigma:
            return int(rng.integers(self.low, self.high, endpoint=True))
        length = self.median * math.exp(self.sigma * rng.standard_normal())
        return round(min(max(length, self.low), self.high))
