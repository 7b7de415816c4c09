"""How many examples a property of an operator is tried on."""

from __future__ import annotations

from hypothesis import settings


def examples(most: int) -> settings:
    """So many, or as few as --hypothesis-profile says; without a deadline, as a first call waits
    for the device.
    """
    return settings(max_examples=min(most, settings().max_examples), deadline=None)
