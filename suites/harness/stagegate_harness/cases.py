"""The cases of a record: what a benchmark is called, what it does, what it gave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest

from stagegate_baselines.anonymous import anonymous
from stagegate_baselines.fingerprint import digest
from stagegate_baselines.kinds import Kind
from stagegate_baselines.records import Case, Scalar
from stagegate_harness.metrics import as_metric
from stagegate_harness.options import PROJECT
from stagegate_harness.work import work_of

# What options make of every case, as pytest_stagegate_params says.
PARAMS = pytest.StashKey[Mapping[str, Scalar]]()
# What the project declares beside the metrics of the harness.
METRICS = pytest.StashKey[Mapping[str, Kind]]()
CASES = pytest.StashKey[list[Case]]()


def suite_of(item: pytest.Item) -> str | None:
    """The folder of the suites that a test lies in, or its file; None for one outside of them."""
    folder = item.config.stash[PROJECT].suites
    if not item.path.is_relative_to(folder):
        return None
    first, *rest = item.path.relative_to(folder).parts
    return first if rest else item.path.stem


def describe(
    item: pytest.Item,
    samples: Mapping[str, Sequence[float | int | None]],
    *,
    params: Mapping[str, Scalar],
    metrics: Mapping[str, Kind],
    model_digest: str | None = None,
    on_cpu: Sequence[float] = (),
    beside: Mapping[str, Any] = MappingProxyType({}),
    invalid: Iterable[str] = (),
) -> Case:
    """The case of a test. params: of its work beside those it is parametrised by. on_cpu: as
    as_metric takes it. beside: fields of the case that were measured beside the rounds.
    """
    values = getattr(getattr(item, "callspec", None), "params", {})
    stated = {
        name: anonymous(value) if isinstance(value, str) else value
        for name, value in values.items()
        if isinstance(value, str | int | float)
    }
    work = stated | dict(params)
    return Case(
        name=anonymous(item.name),
        suite=suite_of(item) or "",
        params=work,
        workload_hash=digest(work_of(item) | {"params": work}),
        model_digest=model_digest,
        metrics=tuple(
            as_metric(name, values, metrics, on_cpu=on_cpu) for name, values in samples.items()
        ),
        **beside,
        # A reason given in several rounds is one reason.
        invalid=tuple(dict.fromkeys(map(anonymous, invalid))),
    )
