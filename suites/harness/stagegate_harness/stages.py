"""The stages of suites/stages.toml."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

STAGES_FILE = Path("suites/stages.toml")
# As --device names them.
DEVICES = ("cpu", "nvidia")

_REQUIRED = ("title", "suites", "criteria")
_OPTIONAL = ("device", "proved_by_suites")
_KINDS: dict[str, tuple[type, str]] = {
    "title": (str, "text"),
    "suites": (list, "a list of folders or files below suites/"),
    "criteria": (dict, "a table of ids and sentences"),
    "proved_by_suites": (dict, "a table of criteria and lists of suites"),
}


@dataclass(frozen=True)
class Stage:
    """name: stageN. suites: folders or files below suites/. criteria: id -> what is to be proved.

    device: what it is about, as --device names it.

    proved_by_suites: criterion -> suites whose every test is evidence for it.
    """

    name: str
    title: str
    device: str
    suites: tuple[str, ...]
    criteria: Mapping[str, str]
    proved_by_suites: Mapping[str, tuple[str, ...]]

    def paths(self, rootpath: Path) -> list[Path]:
        """Where its tests lie."""
        return [rootpath / "suites" / name for name in self.suites]

    def covers(self, path: Path, rootpath: Path) -> bool:
        """Whether a path lies in a suite of this stage, or above one and leads to it."""
        return any(
            path.is_relative_to(suite) or suite.is_relative_to(path)
            for suite in self.paths(rootpath)
        )

    def is_about(self, item: pytest.Item) -> bool:
        """Whether a test can be evidence for the stage: for a GPU, only one that runs there."""
        return (
            self.device == "cpu"
            or "device" in getattr(item, "fixturenames", ())
            or item.get_closest_marker("requires_gpu") is not None
        )

    def criteria_of_place(self, item: pytest.Item, rootpath: Path) -> list[str]:
        """Criteria that a test is evidence for because of the suite it lies in."""
        path = item.path
        if not self.is_about(item):
            return []
        return [
            criterion
            for criterion, suites in self.proved_by_suites.items()
            if any(path.is_relative_to(rootpath / "suites" / name) for name in suites)
        ]


def load_stages(rootpath: Path) -> dict[str, Stage]:
    """Stages by name.

    Raises pytest.UsageError for a file that is missing or is no TOML, for a key or a suite that
    does not exist, and for a criterion that is unknown or claimed twice.
    """
    stages: dict[str, Stage] = {}
    owners: dict[str, str] = {}
    for name, table in _read_tables(rootpath).items():
        _check_keys(name, table)
        for criterion in table["criteria"]:
            if criterion in owners:
                raise _error(f"{criterion} is in {owners[criterion]} and in {name}")
            owners[criterion] = name
        proved_by_suites = table.get("proved_by_suites", {})
        for criterion in proved_by_suites:
            if owners.get(criterion) != name:
                raise _error(f"{name} has no criterion {criterion}")
        for suite in (*table["suites"], *itertools.chain(*proved_by_suites.values())):
            if not (rootpath / "suites" / suite).exists():
                raise _error(f"{name} names the suite {suite!r}, and suites/{suite} does not exist")
        stages[name] = Stage(
            name,
            table["title"],
            table.get("device", "cpu"),
            tuple(table["suites"]),
            table["criteria"],
            {criterion: tuple(suites) for criterion, suites in proved_by_suites.items()},
        )
    return stages


def _read_tables(rootpath: Path) -> dict[str, Any]:
    file = rootpath / STAGES_FILE
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        msg = (
            f"{file} cannot be read: {error.strerror}. The harness takes its stages from there; "
            "docs/extending.md says what is in it"
        )
        raise pytest.UsageError(msg) from error
    except ValueError as error:
        msg = f"{file} is no TOML: {error}"
        raise pytest.UsageError(msg) from error


def _check_keys(name: str, table: object) -> None:
    if not isinstance(table, dict):
        raise _error(f"{name} is no table; a stage is one, with {', '.join(_REQUIRED)}")
    for key in _REQUIRED:
        if key not in table:
            raise _error(f"{name} has no {key}")
        _check_kind(name, key, table[key])
    for key in table:
        if key not in (*_REQUIRED, *_OPTIONAL):
            known = ", ".join((*_REQUIRED, *_OPTIONAL))
            raise _error(f"{name} has an unknown key {key!r}; known: {known}")
    if table.get("device", "cpu") not in DEVICES:
        raise _error(f"{name}: device {table['device']!r} is unknown; known: {', '.join(DEVICES)}")
    _check_kind(name, "proved_by_suites", table.get("proved_by_suites", {}))


def _check_kind(name: str, key: str, value: object) -> None:
    kind, words = _KINDS[key]
    if not isinstance(value, kind):
        raise _error(f"{name}: {key} is {value!r}, and has to be {words}")


def _error(message: str) -> pytest.UsageError:
    return pytest.UsageError(f"{STAGES_FILE}: {message}")


def find_stage(stages: Mapping[str, Stage], name: str | None) -> Stage | None:
    """Raises pytest.UsageError for an unknown name."""
    if name is None:
        return None
    if name not in stages:
        msg = f"--stage: unknown stage {name!r}; known: {', '.join(stages)}"
        raise pytest.UsageError(msg)
    return stages[name]
