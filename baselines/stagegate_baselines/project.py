"""[tool.stagegate] in pyproject.toml: where a project keeps what, and how it is built."""

from __future__ import annotations

import shlex
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from stagegate_baselines.kinds import Kind
from stagegate_baselines.project_root import CONFIGURATION, find_root
from stagegate_baselines.records import Better, MetricClass

TABLE = "[tool.stagegate]"
# For a project that has not said anything yet.
EXAMPLE = f"""\
{TABLE} in {CONFIGURATION} makes a folder a project; it may be empty, or begin with
    {TABLE}
    title = "My project"
"""

Command = tuple[str, ...]
Choice = TypeVar("Choice", bound=StrEnum)


class ProjectError(ValueError):
    """There is no project, or its table is not right; the message says what to write."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """How the gate is tried on this project: gate STAGE --self-test.

    cases: two cases that are slowed in turn. metrics: those that see all of a case's time.
    arguments: what pytest is given, to select these cases and some that stay as they are.
    prepare: a command to run before; empty for none.
    """

    cases: tuple[str, str]
    metrics: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    prepare: Command = ()


@dataclass(frozen=True, slots=True)
class Project:
    """stages, suites, store and out are absolute paths, below `root` unless they were absolute.

    suites: the folder that stages name their suites in. out: where records and reports go. build:
    commands that build a tree, {root}, {stage} and {device} filled in. devices: choices of
    --device and what the fixture `device` gives for each; the first is the default. axes: further
    options with their choices. opt_in: markers of tests that -m has to name, and why. adapter: the
    module of a pytest plugin that belongs to the harness.
    """

    root: Path
    title: str
    stages: Path
    suites: Path
    store: Path
    out: Path
    build: tuple[Command, ...]
    devices: Mapping[str, str]
    axes: Mapping[str, tuple[str, ...]]
    opt_in: Mapping[str, str]
    metrics: Mapping[str, Kind]
    adapter: str | None
    self_test: SelfTest | None

    def at(self, tree: Path) -> Project:
        """The same project in a tree of another revision."""
        moved = {
            name: tree / path.relative_to(self.root)
            for name in ("stages", "suites", "store", "out")
            if (path := getattr(self, name)).is_relative_to(self.root)
        }
        return replace(self, root=tree, **moved)

    @property
    def written(self) -> tuple[str, ...]:
        """Folders below the root that runs write to, relative: no part of the source."""
        return tuple(
            path.relative_to(self.root).as_posix()
            for path in (self.store, self.out)
            if path.is_relative_to(self.root)
        )


def find_project(root: Path | None) -> Project:
    """The project in a folder, or where None is given the one around the current folder.

    Raises ProjectError.
    """
    if root is not None:
        return load_project(root)
    found = find_root(Path.cwd())
    if found is None:
        msg = f"{Path.cwd()} lies in no project; --root names one. {EXAMPLE}"
        raise ProjectError(msg)
    return load_project(found)


def load_project(root: Path) -> Project:
    """The project whose pyproject.toml lies in `root`. Raises ProjectError."""
    file = root / CONFIGURATION
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        msg = f"{file} cannot be read: {error.strerror}. {EXAMPLE}"
        raise ProjectError(msg) from error
    except ValueError as error:
        msg = f"{file} is no TOML: {error}"
        raise ProjectError(msg) from error
    table = document.get("tool", {}).get("stagegate")
    if table is None:
        msg = f"{file} has no {TABLE}. {EXAMPLE}"
        raise ProjectError(msg)
    return _project(root.resolve(), document, _Table(str(file), TABLE, table))


def command_line(command: Command, **values: str) -> list[str]:
    """A command with its {names} filled in; `python` is the interpreter that runs this."""
    words = list(command)
    for name, value in values.items():
        words = [word.replace(f"{{{name}}}", value) for word in words]
    return [sys.executable, *words[1:]] if words[0] == "python" else words


def _project(root: Path, document: Mapping[str, Any], table: _Table) -> Project:
    stages = root / table.text("stages", "suites/stages.toml")
    name = document.get("project", {}).get("name", root.name)
    project = Project(
        root=root,
        title=table.text("title", str(name)),
        stages=stages,
        suites=root / table.text("suites", str(stages.parent)),
        store=root / table.text("store", "baselines/store"),
        out=root / table.text("out", "reports"),
        build=table.commands("build"),
        devices=table.names("devices", {"cpu": "cpu"}),
        axes=_axes(table.inside("axes")),
        opt_in=table.names("opt_in", {}),
        metrics={
            metric: _kind(table.inside("metrics").inside(metric))
            for metric in table.inside("metrics").known_by_use()
        },
        adapter=table.text("adapter", "") or None,
        self_test=_self_test(table.inside("self_test")) if table.has("self_test") else None,
    )
    table.refuse_others()
    return project


def _axes(table: _Table) -> dict[str, tuple[str, ...]]:
    axes = {axis: table.texts(axis) for axis in table.known_by_use()}
    for axis in axes:
        if not axis.isidentifier():
            raise table.error(axis, "under the name of a parameter of tests, such as kv_layout")
    return axes


def _kind(table: _Table) -> Kind:
    kind = Kind(
        unit=table.text("unit"),
        better=table.choice("better", Better),
        metric_class=table.choice("class", MetricClass),
        floor=table.number("floor", 0.0),
    )
    table.refuse_others()
    return kind


def _self_test(table: _Table) -> SelfTest:
    cases = table.texts("cases")
    if len(cases) != 2:
        raise table.error("cases", "two names of cases")
    commands = table.commands("prepare")
    if len(commands) > 1:
        raise table.error("prepare", "one command")
    test = SelfTest(
        (cases[0], cases[1]),
        metrics=table.texts("metrics"),
        arguments=table.texts("arguments") if table.has("arguments") else (),
        prepare=commands[0] if commands else (),
    )
    table.refuse_others()
    return test


class _Table:
    """Reads a table of the file: checks the type of each value and refuses unknown keys."""

    def __init__(self, file: str, name: str, content: Any) -> None:
        self._file, self._name = file, name
        if not isinstance(content, dict):
            msg = f"{file}: {name} is {content!r}, and has to be a table"
            raise ProjectError(msg)
        self._content = content
        self._known: dict[str, None] = {}

    def has(self, key: str) -> bool:
        self._known[key] = None
        return key in self._content

    def error(self, key: str, words: str) -> ProjectError:
        value = self._content.get(key)
        return ProjectError(
            f"{self._file}: {key} in {self._name} is {value!r}, and has to be {words}"
            if key in self._content
            else f"{self._file}: {self._name} has no {key}; it has to be {words}"
        )

    def inside(self, key: str) -> _Table:
        name = f"{self._name[:-1]}.{key}]"
        return _Table(self._file, name, self._content[key] if self.has(key) else {})

    def known_by_use(self) -> Sequence[str]:
        """All keys, of a table whose keys the project chooses."""
        self._known.update(dict.fromkeys(self._content))
        return list(self._content)

    def text(self, key: str, default: str | None = None) -> str:
        if not self.has(key) and default is not None:
            return default
        value = self._content.get(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, "text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._content.get(key) if self.has(key) else None
        if not value or not isinstance(value, list) or not all(isinstance(i, str) for i in value):
            raise self.error(key, "a list of texts")
        return tuple(value)

    def number(self, key: str, default: float) -> float:
        value = self._content[key] if self.has(key) else default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, "a number")
        return float(value)

    def choice(self, key: str, choices: type[Choice]) -> Choice:
        value = self._content.get(key) if self.has(key) else None
        if value not in list(choices):
            raise self.error(key, f"one of {', '.join(choices)}")
        return choices(value)

    def names(self, key: str, default: Mapping[str, str]) -> Mapping[str, str]:
        """A table of texts, or a list of names that stand for themselves."""
        value = self._content[key] if self.has(key) else default
        if isinstance(value, list):
            value = {name: name for name in value if isinstance(name, str)} if value else None
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            raise self.error(key, "a table of texts or a list of names")
        return value

    def commands(self, key: str) -> tuple[Command, ...]:
        """A command as a shell has it, or a list of them."""
        value = self._content[key] if self.has(key) else []
        stated = [value] if isinstance(value, str) else value
        if not isinstance(stated, list) or not all(isinstance(i, str) and i for i in stated):
            raise self.error(key, "a command or a list of commands")
        return tuple(tuple(shlex.split(command)) for command in stated)

    def refuse_others(self) -> None:
        for key in self._content:
            if key not in self._known:
                known = ", ".join(self._known)
                msg = f"{self._file}: {self._name} has an unknown key {key!r}; known: {known}"
                raise ProjectError(msg)
