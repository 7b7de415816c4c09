"""How many examples a property of an operator is tried on, and of what sizes."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st


def examples(most: int) -> settings:
    """So many, or as few as --hypothesis-profile says; without a deadline, as a first call waits
    for the device.
    """
    return settings(max_examples=min(most, settings().max_examples), deadline=None)


def sizes(most: int) -> st.SearchStrategy[int]:
    """From 0 on; every other one a multiple of 8 elements, for rows of 16 bytes and their multiples
    take other paths on a GPU.
    """
    return st.integers(0, most) | st.integers(0, most // 8).map(lambda units: 8 * units)
