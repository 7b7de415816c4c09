"""What the command line selects of a stage.

A run of a stage collects the whole of it, whatever paths say, and leaves out what they do not name:
a criterion is proved by all of its tests, so a run has to know which there are.
"""

from __future__ import annotations

import fnmatch
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

# Settings that change which tests a folder has.
_COLLECTION_SETTINGS = ("python_files", "python_classes", "python_functions", "norecursedirs")


@dataclass(frozen=True)
class Place:
    """A path of the command line and, after ::, names of a class and a test in that file."""

    argument: str
    path: Path
    names: tuple[str, ...]

    def holds(self, item: pytest.Item) -> bool:
        if not _resolved(item.path).is_relative_to(self.path):
            return False
        chain = item.listchain()
        file = next(place for place, node in enumerate(chain) if isinstance(node, pytest.File))
        names = [node.name for node in chain[file + 1 :]]
        return len(names) >= len(self.names) and all(
            stated in (name, name.partition("[")[0])
            for stated, name in zip(self.names, names, strict=False)
        )


class Selection:
    """The paths, --ignore and --ignore-glob of one run.

    Raises pytest.UsageError for a path that does not exist, and for options that change what a
    test is.
    """

    def __init__(self, config: pytest.Config) -> None:
        folder = config.invocation_params.dir
        changed = [item.partition("=")[0] for item in config.option.override_ini or ()]
        for name in changed:
            if name in _COLLECTION_SETTINGS:
                msg = f"--stage: -o {name}=... changes which tests the stage has; leave it out"
                raise pytest.UsageError(msg)
        if config.option.pyargs:
            msg = "--stage: --pyargs is not known here; name tests by their paths"
            raise pytest.UsageError(msg)
        self._places = [_place(folder, argument) for argument in config.args]
        self._ignored = [_resolved(folder / path) for path in config.option.ignore or ()]
        self._globs = [str(folder / glob) for glob in config.option.ignore_glob or ()]

    def is_ignored(self, path: Path) -> bool:
        """Whether --ignore or --ignore-glob names this file or folder, or one above it."""
        above = (path, *path.parents)
        return any(_resolved(one) in self._ignored for one in above) or any(
            fnmatch.fnmatch(str(one), glob) for glob in self._globs for one in above
        )

    def concerns(self, path: Path) -> bool:
        """Whether tests of this file, or below this folder, may have been asked for."""
        path = _resolved(path)
        return not self.is_ignored(path) and any(
            path.is_relative_to(place.path) or place.path.is_relative_to(path)
            for place in self._places
        )

    def take_outside(self, items: list[pytest.Item]) -> list[tuple[pytest.Item, str]]:
        """Takes the tests out that the paths leave out, and returns each with the reason."""
        outside = [(item, why) for item in items if (why := self._why_left_out(item))]
        gone = {item for item, _ in outside}
        items[:] = [item for item in items if item not in gone]
        return outside

    def _why_left_out(self, item: pytest.Item) -> str | None:
        """Why the paths leave a test out; None where they do not."""
        if not any(place.holds(item) for place in self._places):
            return "not in the paths of the command line"
        if self.is_ignored(item.path):
            return "left out by --ignore"
        return None

    def check_found(self, items: list[pytest.Item], unreadable: set[Path]) -> None:
        """Raises pytest.UsageError for a test that no file has; unreadable: files not to blame."""
        excused = set(map(_resolved, unreadable))
        for place in self._places:
            searched = place.names and place.path not in excused
            if searched and not any(place.holds(item) for item in items):
                msg = f"not found in the stage: {place.argument}"
                raise pytest.UsageError(msg)


def selecting_options(config: pytest.Config) -> str:
    """The options of pytest itself that leave tests out of this run, as they were written."""
    option = config.option
    stated = {
        "-k": getattr(option, "keyword", ""),
        "-m": getattr(option, "markexpr", ""),
        "--deselect": " ".join(getattr(option, "deselect", None) or ()),
    }
    words = [f"{name} {value}" for name, value in stated.items() if value]
    for name, attribute in (("--lf", "lf"), ("--sw", "stepwise")):
        if getattr(option, attribute, False):
            words.append(name)
    return ", ".join(words) or "another plugin"


def _place(folder: Path, argument: str) -> Place:
    # Parameters, in brackets, may have :: in them.
    base, bracket, parameters = argument.partition("[")
    path, *names = base.split("::")
    if bracket:
        names = [*names[:-1], f"{names[-1]}[{parameters}"] if names else names
    if bracket and not names:  # a path with a bracket in its name
        path = argument
    place = folder / path
    if not place.exists():
        msg = f"file or directory not found: {argument}"
        raise pytest.UsageError(msg)
    return Place(argument, _resolved(place), tuple(names))


@cache
def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))
