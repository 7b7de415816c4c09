"""Which parametrised cases the axis options leave in.

A test takes part in an axis by a parameter of its name, be it from a fixture or from its own
parametrize; a test without it runs whatever the option. What takes long waits to be asked for by
its marker.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import pytest

from stagegate_harness.options import PROJECT, Settings, option_of


def applies(item: pytest.Item, settings: Settings) -> bool:
    """Whether a case is one that the full run on this device has."""
    return _params(item).get("device", settings.device) == settings.device


def is_opt_in(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in item.config.stash[PROJECT].opt_in)


def why_opted_out(item: pytest.Item, markexpr: str) -> str | None:
    """Why a case waits for -m to name a marker that it has; None where it does not wait.

    markexpr: the argument of -m.
    """
    for name, why in item.config.stash[PROJECT].opt_in.items():
        if name not in markexpr and item.get_closest_marker(name):
            return why
    return None


def cover(items: Sequence[pytest.Item], most: int) -> set[pytest.Item]:
    """At most so many cases of each test, in which every value of every parameter occurs if so many
    are enough.

    The next case is one that brings the most values that none before it has, of those one that
    brings the most pairs of values, of those one whose values are the rarest so far, of those the
    first in an order drawn by the name of the test: the same in every run.
    """
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        cases[item.nodeid.partition("[")[0]].append(item)
    chosen: set[pytest.Item] = set()
    for name, group in cases.items():
        random.Random(name).shuffle(group)
        left = {item: _values_and_pairs(item) for item in group}
        seen: Counter[object] = Counter()
        for _ in range(min(most, len(group))):
            best = max(left, key=lambda item: _news(*left[item], seen))
            for parts in left.pop(best):
                seen.update(parts)
            chosen.add(best)
    return chosen


def why_narrowed(item: pytest.Item, settings: Settings) -> str | None:
    """The option that leaves out a case which the full run has; None where none does."""
    for axis, value in settings.axes.items():
        if value is not None and _params(item).get(axis, value) != value:
            return f"left out by {option_of(axis)} {value}"
    return None


def _values_and_pairs(item: pytest.Item) -> tuple[list[object], list[object]]:
    """The values of its parameters, as written for not all can be hashed, and every two of them."""
    values = [(name, repr(value)) for name, value in sorted(_params(item).items())]
    return [*values], [*itertools.combinations(values, 2)]


def _news(
    values: Sequence[object], pairs: Sequence[object], seen: Counter[object]
) -> tuple[int, int, int]:
    """How much a case brings: what max compares."""
    return (
        sum(seen[value] == 0 for value in values),
        sum(seen[pair] == 0 for pair in pairs),
        -sum(seen[value] for value in values),
    )


def _params(item: pytest.Item) -> Mapping[str, object]:
    params: Mapping[str, object] = getattr(getattr(item, "callspec", None), "params", {})
    return params
