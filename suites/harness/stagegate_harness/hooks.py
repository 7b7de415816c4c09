"""Hooks that a project may implement, in its conftest.py or in an adapter.

None has to be there. `config.stash[stagegate_harness.options.SETTINGS]` has the parsed options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import pytest

from stagegate_baselines.kinds import Kind
from stagegate_baselines.records import Scalar


def pytest_stagegate_configure(config: pytest.Config) -> None:
    """The options of the harness are parsed. Raise pytest.UsageError for wrong ones of your own."""


def pytest_stagegate_metrics(config: pytest.Config) -> Mapping[str, Kind]:  # type: ignore[empty-body]
    """Metrics that benchmarks may report, beside those in [tool.stagegate.metrics]."""


def pytest_stagegate_params(config: pytest.Config) -> Mapping[str, Scalar]:  # type: ignore[empty-body]
    """What options make of every benchmark: recorded with each case, and part of its work."""


def pytest_stagegate_environment(config: pytest.Config) -> Mapping[str, object]:  # type: ignore[empty-body]
    """Facts of the build: compiler, build_type, cuda, onednn (texts or None), num_threads (int) and
    packages (a list of distributions whose versions are recorded).
    """


@pytest.hookspec(firstresult=True)
def pytest_stagegate_model(config: pytest.Config) -> str | None:
    """16 hex digits of what is tested, beside the source: a checkpoint, a data set."""


@pytest.hookspec(firstresult=True)
def pytest_stagegate_applies(item: pytest.Item, chosen: bool) -> bool | None:
    """False for a case that a full run with these options does not have: it is deselected, and no
    criterion misses it. chosen: whether the command line selects it.
    """


@pytest.hookspec(firstresult=True)
def pytest_stagegate_why_left_out(item: pytest.Item) -> str | None:
    """Why an option leaves out a case that the full run has: a criterion then stays unproved."""


@pytest.hookspec(firstresult=True)
def pytest_stagegate_why_unproved(item: pytest.Item) -> str | None:
    """Why a case that runs proves nothing."""


@pytest.hookspec(firstresult=True)
def pytest_stagegate_device_control(config: pytest.Config) -> Callable[[], float] | None:
    """Measures the seconds of a fixed piece of work on the device under test, before each round:
    what it takes says how busy the device is. Asked for where that is not the CPU.
    """


@pytest.hookspec(firstresult=True)
def pytest_stagegate_slowdown(
    config: pytest.Config, share: float
) -> AbstractContextManager[None] | None:
    """Inside the block the project's code takes `share` longer: a slowdown planted on purpose.

    Without one the rounds of a benchmark and what `benchmark` calls take longer.
    """
