"""Wrong operands that only running finds: which of several an operator may name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest

from stagegate._C import Context
from stagegate.errors import ArgumentError


def assert_names_one(
    context: Context, call: Callable[[], object], sentences: Sequence[str]
) -> None:
    """A sentence for each wrong element, in order.

    The CPU names the first. The threads of a GPU come upon them in any order, and whoever waits for
    them is told, once.
    """

    def run_to_end() -> None:
        call()
        context.synchronize()

    allowed = sentences[:1] if context.device == "cpu" else sentences
    with pytest.raises(ArgumentError, match=f"^({'|'.join(map(re.escape, allowed))})$"):
        run_to_end()
    context.synchronize()
