"""Numbers of a metric, of which a round may lack one."""

from __future__ import annotations

import statistics
from collections.abc import Iterable


def median(samples: Iterable[float | None]) -> float | None:
    """Of the samples that are not None; None where all are."""
    known = [sample for sample in samples if sample is not None]
    return float(statistics.median(known)) if known else None
