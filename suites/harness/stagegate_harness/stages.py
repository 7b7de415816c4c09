"""The stages of a project's stages file."""

from __future__ import annotations

import itertools
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stagegate_baselines.project import Project

Error = Callable[[str], pytest.UsageError]
EXAMPLE = """
    [stage0]
    title = "The first stage"
    suites = ["."]
    criteria = { "s0.works" = "what is to be proved" }
"""

_REQUIRED = ("title", "suites", "criteria")
_OPTIONAL = ("device", "proved_by_suites")
_KINDS: dict[str, tuple[type, str]] = {
    "title": (str, "text"),
    "suites": (list, "a list of folders or files of the suites"),
    "criteria": (dict, "a table of ids and sentences"),
    "proved_by_suites": (dict, "a table of criteria and lists of suites"),
}


@dataclass(frozen=True)
class Stage:
    """suites: folders or files of the folder of suites. criteria: id -> what is to be proved.

    device: what it is about, as --device names it; on the default one every test runs.
    folder: of the suites.

    proved_by_suites: criterion -> suites whose every test is evidence for it.
    """

    name: str
    title: str
    device: str
    on_default: bool
    folder: Path
    suites: tuple[str, ...]
    criteria: Mapping[str, str]
    proved_by_suites: Mapping[str, tuple[str, ...]]

    def paths(self) -> list[Path]:
        """Where its tests lie."""
        return [self.folder / name for name in self.suites]

    def covers(self, path: Path) -> bool:
        """Whether a path lies in a suite of this stage, or above one and leads to it."""
        return any(
            path.is_relative_to(suite) or suite.is_relative_to(path) for suite in self.paths()
        )

    def is_about(self, item: pytest.Item) -> bool:
        """Whether a test can be evidence for the stage: for another device than the
        default, only one that runs there."""
        return (
            self.on_default
            or "device" in getattr(item, "fixturenames", ())
            or item.get_closest_marker("requires_gpu") is not None
        )

    def criteria_of_place(self, item: pytest.Item) -> list[str]:
        """Criteria that a test is evidence for because of the suite it lies in."""
        path = item.path
        if not self.is_about(item):
            return []
        return [
            criterion
            for criterion, suites in self.proved_by_suites.items()
            if any(path.is_relative_to(self.folder / name) for name in suites)
        ]


def load_stages(project: Project) -> dict[str, Stage]:
    """Stages by name.

    Raises pytest.UsageError for a file that is missing or is no TOML, for a key or a suite that
    does not exist, and for a criterion that is unknown or claimed twice.
    """

    def error(words: str) -> pytest.UsageError:
        return pytest.UsageError(f"{project.stages}: {words}")

    stages: dict[str, Stage] = {}
    owners: dict[str, str] = {}
    default = next(iter(project.devices))
    for name, table in _read_tables(project.stages).items():
        _check_keys(error, name, table, tuple(project.devices))
        for criterion in table["criteria"]:
            if criterion in owners:
                raise error(f"{criterion} is in {owners[criterion]} and in {name}")
            owners[criterion] = name
        proved_by_suites = table.get("proved_by_suites", {})
        for criterion in proved_by_suites:
            if owners.get(criterion) != name:
                raise error(f"{name} has no criterion {criterion}")
        for suite in (*table["suites"], *itertools.chain(*proved_by_suites.values())):
            if not (project.suites / suite).exists():
                place = os.path.relpath(project.suites / suite, project.root)
                raise error(f"{name} names the suite {suite!r}, and {place} does not exist")
        stages[name] = Stage(
            name,
            table["title"],
            device := table.get("device", default),
            device == default,
            project.suites,
            tuple(table["suites"]),
            table["criteria"],
            {criterion: tuple(suites) for criterion, suites in proved_by_suites.items()},
        )
    return stages


def _read_tables(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        msg = (
            f"{file} cannot be read: {error.strerror}. The harness takes the stages of the project "
            f"from there; write for example{EXAMPLE}"
        )
        raise pytest.UsageError(msg) from error
    except ValueError as error:
        msg = f"{file} is no TOML: {error}"
        raise pytest.UsageError(msg) from error


def _check_keys(error: Error, name: str, table: object, devices: tuple[str, ...]) -> None:
    if not isinstance(table, dict):
        raise error(f"{name} is no table; a stage is one, with {', '.join(_REQUIRED)}")
    for key in _REQUIRED:
        if key not in table:
            raise error(f"{name} has no {key}")
        _check_kind(error, name, key, table[key])
    for key in table:
        if key not in (*_REQUIRED, *_OPTIONAL):
            known = ", ".join((*_REQUIRED, *_OPTIONAL))
            raise error(f"{name} has an unknown key {key!r}; known: {known}")
    if table.get("device", devices[0]) not in devices:
        raise error(f"{name}: device {table['device']!r} is unknown; known: {', '.join(devices)}")
    _check_kind(error, name, "proved_by_suites", table.get("proved_by_suites", {}))


def _check_kind(error: Error, name: str, key: str, value: object) -> None:
    kind, words = _KINDS[key]
    if not isinstance(value, kind):
        raise error(f"{name}: {key} is {value!r}, and has to be {words}")


def find_stage(stages: Mapping[str, Stage], name: str | None) -> Stage | None:
    """Raises pytest.UsageError for an unknown name."""
    if name is None:
        return None
    if name not in stages:
        msg = f"--stage: unknown stage {name!r}; known: {', '.join(stages)}"
        raise pytest.UsageError(msg)
    return stages[name]
