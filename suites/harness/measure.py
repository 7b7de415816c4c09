"""Benchmarks whose rounds bring metrics of their own beside their duration."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pytest

from suites.harness.options import SETTINGS

Metrics = Mapping[str, float | int | None]


@dataclass
class Case:
    """Metrics of one benchmark case, a sample a round."""

    name: str
    samples: dict[str, list[float | int | None]] = field(default_factory=dict)


CASES = pytest.StashKey[list[Case]]()


class Measure:
    """Runs a round several times after a warm-up and keeps what each one reports.

    The samples go into the record as extra_info["metrics"], and into the table that ends the run.
    """

    def __init__(self, benchmark: Any, config: pytest.Config, name: str) -> None:
        self._benchmark = benchmark
        self._settings = config.stash[SETTINGS]
        self._cases = config.stash[CASES]
        self._name = name

    def __call__(self, run: Callable[[int], Metrics]) -> dict[str, list[float | int | None]]:
        """Call run(round), where rounds count from 0 and the warm-up comes first as round -1."""
        workload = self._settings.workload
        reported: list[Metrics] = []

        def setup() -> tuple[tuple[int], dict[str, Any]]:
            return (len(reported) - 1,), {}

        self._benchmark.pedantic(
            lambda index: reported.append(run(index)),
            setup=setup,
            rounds=workload.rounds,
            warmup_rounds=1,
        )
        measured = reported[1:]  # the warm-up is not a sample
        case = Case(self._name)
        for metrics in measured:
            for name, value in metrics.items():
                case.samples.setdefault(name, []).append(value)
        self._benchmark.extra_info["metrics"] = case.samples
        self._benchmark.extra_info["workload"] = {
            **asdict(workload),
            "num_threads": self._settings.num_threads,
            "omp": {name: value for name, value in os.environ.items() if name.startswith("OMP_")},
        }
        self._cases.append(case)
        return case.samples


@pytest.fixture
def measure(benchmark: Any, request: pytest.FixtureRequest) -> Iterator[Measure]:
    """A Measure named after the test."""
    return Measure(benchmark, request.config, request.node.name)


def write_metrics(terminal: pytest.TerminalReporter, cases: list[Case]) -> None:
    """Median and range over the rounds of every metric of every case."""
    for case in cases:
        rounds = max(map(len, case.samples.values()), default=0)
        terminal.write_line(f"{case.name} ({rounds} rounds)")
        for name, samples in case.samples.items():
            values = [sample for sample in samples if sample is not None]
            if values:
                spread = f"[{min(values):.4f}, {max(values):.4f}]"
                terminal.write_line(f"  {name:22} {np.median(values):14.4f}   {spread}")
