"""Command-line options of the harness, and their parsed form."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from stagegate_baselines.project import Project
from stagegate_harness.stages import find_stage, load_stages


@dataclass(frozen=True)
class Settings:
    """The options of one pytest run.

    device: what the fixture of that name gives. axes: option -> its value; None selects all of it.
    rounds: measured rounds of a benchmark, at least. bench_seconds: how long they take together, at
    least. cases_per_test: most parameter sets of a test that run; None: all.
    """

    stage: str | None
    device: str
    axes: Mapping[str, str | None]
    rounds: int
    bench_seconds: float
    cases_per_test: int | None


PROJECT = pytest.StashKey[Project]()
SETTINGS = pytest.StashKey[Settings]()


def add_options(parser: pytest.Parser, project: Project | None) -> None:
    """project: None where there is none, whose axes are not known then."""
    group = parser.getgroup("stagegate", "stages, axes and benchmarks")
    group.addoption("--stage", metavar="NAME", help="run the suites of one stage")
    group.addoption(
        "--device",
        choices=None if project is None else tuple(project.devices),
        help="default: the stage's",
    )
    for axis, choices in {} if project is None else project.axes.items():
        group.addoption(option_of(axis), choices=choices, help="run cases with this value alone")
    group.addoption(
        "--bench-rounds",
        type=positive,
        default=5,
        help="measured rounds a case, or more to fill --benchmark-max-time; default: 5",
    )
    group.addoption(
        "--cases-per-test",
        type=positive,
        metavar="N",
        help="run N parameter sets of each test, with as many values of its parameters as they can "
        "have; what is left out proves nothing",
    )


def read_settings(config: pytest.Config) -> Settings:
    """The parsed options. Raises pytest.UsageError."""
    project = config.stash[PROJECT]
    default = next(iter(project.devices))
    stage = find_stage(load_stages(project), config.getoption("--stage"))
    device = config.getoption("--device") or (stage.device if stage else default)
    if stage and stage.device not in (default, device):
        msg = f"--device {device}: {stage.name} is about {stage.device}; leave the option out"
        raise pytest.UsageError(msg)
    return Settings(
        stage=stage.name if stage else None,
        device=project.devices[device],
        axes={axis: config.getoption(option_of(axis)) for axis in project.axes},
        rounds=config.getoption("--bench-rounds"),
        # An option of pytest-benchmark, which need not be there.
        bench_seconds=float(config.getoption("benchmark_max_time", 0)),
        cases_per_test=config.getoption("--cases-per-test"),
    )


def option_of(axis: str) -> str:
    """--kv-layout for kv_layout."""
    return f"--{axis.replace('_', '-')}"


def record_path(config: pytest.Config) -> Path | None:
    """The file of --benchmark-json; pytest-benchmark opens it at once or, since 5.3, at the end."""
    value = config.getoption("benchmark_json", None)
    if value is None:
        return None
    return config.invocation_params.dir / (value if isinstance(value, Path) else value.name)


def positive(text: str) -> int:
    """The type of an option that counts something."""
    if not text.isdecimal() or int(text) == 0:
        msg = f"{text!r} is not a positive whole number"
        raise argparse.ArgumentTypeError(msg)
    return int(text)
