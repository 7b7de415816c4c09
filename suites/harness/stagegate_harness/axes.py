"""Which parametrised cases the axis options leave in.

A test takes part in an axis by a parameter of its name (layout, backend, dtype, device), be it from
a fixture of the harness or from its own parametrize; a test without it runs whatever the option.
What takes long waits to be asked for by its marker. What is about the checkpoint in the repository
is left out where another one is under test.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import pytest

from stagegate_harness.options import SOAK_SECONDS, Settings

# Tests that run only where -m names their marker: why, and what runs them.
OPT_IN = {
    "soak": "takes many minutes: nox -s soak -- --device nvidia",
    "large": "takes tens of gigabytes of disk and of GPU memory: "
    "nox -s suite -- stage4 -m large --run-hf always",
    "clients": "installs a dozen client libraries: nox -s clients",
}


def applies(item: pytest.Item, settings: Settings) -> bool:
    """Whether a case is one that the full run on this device has."""
    return not (
        _is_duplicate(item)
        or _waits_to_be_asked_for(item, settings)
        or _params(item).get("device", settings.device) != settings.device
    )


def is_of_another_model(item: pytest.Item, settings: Settings) -> bool:
    """Whether a case is about the checkpoint in the repository, and another one is under test.

    What it would prove is then proved by the tests that apply to that checkpoint.
    """
    is_other = settings.model_path != settings.recorded_model
    return is_other and item.get_closest_marker("tiny_model") is not None


def is_opt_in(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in OPT_IN)


def why_opted_out(item: pytest.Item, markexpr: str) -> str | None:
    """Why a case waits for -m to name a marker that it has; None where it does not wait.

    markexpr: the argument of -m.
    """
    for name, why in OPT_IN.items():
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
    wanted = {"layout": settings.layout, "backend": settings.backend, "dtype": settings.dtype}
    for axis, value in wanted.items():
        if value is not None and _params(item).get(axis, value) != value:
            return f"left out by --{axis} {value}"
    switches = {
        "parity": ("--run-parity", settings.run_parity),
        "requires_hf": ("--run-hf", settings.run_hf),
    }
    for marker, (option, run) in switches.items():
        if run == "never" and item.get_closest_marker(marker):
            return f"left out by {option} never"
    return None


def why_cut_short(item: pytest.Item, settings: Settings) -> str | None:
    """Why a soak proves nothing: it is shorter than the one that its criterion is about."""
    asks = "soak_seconds" in getattr(item, "fixturenames", ())
    if asks and settings.soak_seconds < SOAK_SECONDS:
        return f"cut short by --soak-seconds {settings.soak_seconds}"
    return None


def _is_duplicate(item: pytest.Item) -> bool:
    """Slots have no block tables: slot on native would be the csr case under another name."""
    params = _params(item)
    return params.get("layout") == "slot" and params.get("backend") in ("native", "flashinfer")


def _waits_to_be_asked_for(item: pytest.Item, settings: Settings) -> bool:
    """What needs FlashInfer: native once more by somebody else's kernels, which few builds have."""
    if settings.backend == "flashinfer":
        return False
    marked = item.get_closest_marker("requires_flashinfer") is not None
    return marked or _params(item).get("backend") == "flashinfer"


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
