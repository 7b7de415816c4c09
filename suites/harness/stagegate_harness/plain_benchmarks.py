"""Benchmarks of pytest-benchmark alone, without `measure`, as cases of the record."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest

from stagegate_baselines import launch_variables
from stagegate_harness import planted
from stagegate_harness.cases import CASES, METRICS, PARAMS, describe, suite_of
from stagegate_harness.measure import MOST_ROUNDS
from stagegate_harness.options import SETTINGS


class PlainBenchmarks:
    """Hooks around tests that use the fixture `benchmark` and not `measure`."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        fixture = _fixture(item)
        share = planted.planted_share(os.environ.get(launch_variables.PLANT, ""), item.name)
        if fixture is None or not share:
            yield
            return
        with planted.slower(item.config, share) as by_the_project:
            if not by_the_project:
                clock = planted.clock_of(item.config.stash[SETTINGS].device)
                _slow(fixture, share, clock)
            yield

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        # Its numbers, before pytest-benchmark's teardown and whatever the report becomes.
        fixture = _fixture(item) if call.when == "call" else None
        report = yield
        if fixture is None or report.skipped or fixture.disabled:
            return report
        rounds = [] if fixture.stats is None else list(fixture.stats.stats.data)
        invalid = []
        if report.failed and call.excinfo is not None:
            invalid.append(f"the test failed: {call.excinfo.exconly().splitlines()[0]}")
        if rounds or invalid:
            samples = {"latency_us": [] if invalid else _thinned(rounds)}
            stash = item.config.stash
            params, metrics = stash[PARAMS], stash[METRICS]
            case = describe(item, samples, params=params, metrics=metrics, invalid=invalid)
            stash[CASES].append(case)
        return report


def _fixture(item: pytest.Item) -> Any | None:
    """The fixture `benchmark` of a test that has a place in the record and no `measure`."""
    names = getattr(item, "fixturenames", ())
    if "benchmark" not in names or "measure" in names or suite_of(item) is None:
        return None
    return getattr(item, "funcargs", {}).get("benchmark")


def _slow(fixture: Any, share: float, clock: Callable[[], float]) -> None:
    make_runner = fixture._make_runner

    def slower(function: Callable[..., object], *arguments: object) -> object:
        return make_runner(planted.slowed(function, share, clock), *arguments)

    fixture._make_runner = slower


def _thinned(rounds: list[float]) -> list[float | int | None]:
    """Microseconds of a call, a sample a round. Of more rounds than a record holds, which a quick
    function has by the thousand, neighbours become one sample, their median.
    """
    parts = np.array_split(1e6 * np.array(rounds), min(len(rounds), MOST_ROUNDS))
    return [float(np.median(part)) for part in parts]
