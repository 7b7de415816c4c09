"""How many times better one engine is than another that ran the same work in the same rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stagegate_baselines.gate.statistics import paired
from stagegate_baselines.records import Better


@dataclass(frozen=True, slots=True)
class Gain:
    """Above 1 the first is better. interval: of 95 %; None where there was one round."""

    ratio: float
    interval: tuple[float, float] | None


def gain_of(
    ours: Sequence[float | None], theirs: Sequence[float | None], better: Better
) -> Gain | None:
    """Of samples in pairs, ours[i] measured beside theirs[i], as the gate compares launches.

    None where no round has a positive number of both.
    """
    pairs = [
        (one, other)
        for one, other in zip(ours, theirs, strict=False)
        if one is not None and other is not None and one > 0 and other > 0
    ]
    if not pairs:
        return None
    if len(pairs) == 1:
        [(one, other)] = pairs
        return Gain(one / other if better is Better.HIGHER else other / one, None)
    estimate = paired([other for _, other in pairs], [one for one, _ in pairs], better)
    assert estimate is not None  # there is no control to estimate
    # An effect is positive where the second of the two, ours, is worse.
    return Gain(math.exp(-estimate.effect), (math.exp(-estimate.high), math.exp(-estimate.low)))
