"""The stages of suites/stages.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

STAGES_FILE = Path("suites/stages.toml")


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

    def covers(self, path: Path, rootpath: Path) -> bool:
        """Whether a path lies in a suite of this stage, or above one and leads to it."""
        return any(
            path.is_relative_to(suite) or suite.is_relative_to(path)
            for suite in (rootpath / "suites" / name for name in self.suites)
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
    """Stages by name. Raises pytest.UsageError for a criterion that is unknown or claimed twice."""
    stages: dict[str, Stage] = {}
    owners: dict[str, str] = {}
    for name, table in tomllib.loads((rootpath / STAGES_FILE).read_text("utf-8")).items():
        for criterion in table["criteria"]:
            if criterion in owners:
                msg = f"{STAGES_FILE}: {criterion} is in {owners[criterion]} and in {name}"
                raise pytest.UsageError(msg)
            owners[criterion] = name
        proved_by_suites = table.get("proved_by_suites", {})
        for criterion in proved_by_suites:
            if owners.get(criterion) != name:
                msg = f"{STAGES_FILE}: {name} has no criterion {criterion}"
                raise pytest.UsageError(msg)
        stages[name] = Stage(
            name,
            table["title"],
            table.get("device", "cpu"),
            tuple(table["suites"]),
            table["criteria"],
            {criterion: tuple(suites) for criterion, suites in proved_by_suites.items()},
        )
    return stages


def find_stage(stages: Mapping[str, Stage], name: str | None) -> Stage | None:
    """Raises pytest.UsageError for an unknown name."""
    if name is None:
        return None
    if name not in stages:
        msg = f"--stage: unknown stage {name!r}; known: {', '.join(stages)}"
        raise pytest.UsageError(msg)
    return stages[name]
