"""The words for what was proved and what was found, each set in the order a reader needs: worst
first."""

from __future__ import annotations

from enum import StrEnum


class CriterionState(StrEnum):
    """unproved: nothing that proves the criterion ran, or some of it was left out."""

    FAILED = "failed"
    UNPROVED = "unproved"
    PROVED = "proved"


class StageState(StrEnum):
    """open: nothing of it ran. unproved: it ran, nothing failed, but a criterion lacks evidence."""

    FAILED = "failed"
    UNPROVED = "unproved"
    OPEN = "open"
    PASSED = "passed"


class Verdict(StrEnum):
    """What the gate says of a metric. A wrong result is worse than a slow one."""

    INVALID = "invalid"
    REGRESSED = "regressed"
    INCONCLUSIVE = "inconclusive"
    NOT_COMPARABLE = "not-comparable"
    NO_BASELINE = "no-baseline"
    IMPROVED = "improved"
    UNCHANGED = "unchanged"  # equivalence shown, not merely no difference found
