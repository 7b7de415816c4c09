"""What a benchmark does, in a form that two revisions can be compared by.

That is its function, the fixtures and helpers of the suites behind it, and its parameters: not the
rest of its file, not the engine, and not the harness, which measures it. Comments, annotations,
docstrings and marks do not count, and neither does what is only read: a metric or a clock.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path

import pytest

from stagegate_harness.normal_form import normal_nodes, plain_nodes
from stagegate_harness.options import PROJECT
from stagegate_harness.source_graph import Definition, SourceGraph

_HARNESS = Path(__file__).parent
VERSION = "workload_version"


def work_of(item: pytest.Item) -> dict[str, object]:
    """Plain data that is equal where a case does the same, in any process on any machine.

    A test marked workload_version(...) states a version of what it does in place of its code.
    """
    params = getattr(getattr(item, "callspec", None), "params", {})
    values = {name: plain(value) for name, value in params.items()}
    marker = item.get_closest_marker(VERSION)
    if marker is not None:
        if len(marker.args) != 1 or not isinstance(marker.args[0], str | int):
            msg = f"{item.nodeid}: {VERSION} takes one version, a text or a whole number"
            raise pytest.UsageError(msg)
        return {"version": marker.args[0], "values": values}
    return {"code": _code(item, params.values()), "values": values}


def _code(item: pytest.Item, values: Iterable[object]) -> list[object]:
    folder = item.config.stash[PROJECT].suites
    gear = _gear(item)
    graph = SourceGraph(folder)
    test_name = item.name.partition("[")[0]
    test = Definition(item.path, _top_name(item))
    waiting = {test, *_fixtures(item, folder)}
    waiting |= {found for value in values for found in _definitions(value, item, folder)}
    code: dict[Definition, list[object]] = {}
    seen: set[Definition] = set()
    while waiting:
        definition = waiting.pop()
        seen.add(definition)
        parsed = tuple(graph.nodes(definition))
        nodes = normal_nodes(parsed, test_name if definition == test else None)
        waiting |= set(graph.references(definition.file, nodes)) - seen
        if not any(definition.file.is_relative_to(place) for place in gear):
            code[definition] = plain_nodes(nodes)
    return [
        [definition.file.relative_to(folder).as_posix(), definition.name, code[definition]]
        for definition in sorted(code)
    ]


def _gear(item: pytest.Item) -> tuple[Path, ...]:
    """What measures: the harness, and the package of the project's adapter."""
    project = item.config.stash[PROJECT]
    file = getattr(sys.modules.get(project.adapter or ""), "__file__", None)
    if file is None:
        return (_HARNESS,)
    package = Path(file).parent
    alone = package in (project.root, project.suites)  # a module that is in no package
    return (_HARNESS, Path(file) if alone else package)


def _top_name(item: pytest.Item) -> str:
    """What a test is written in at the top of its file: its class, or itself."""
    owner = item.getparent(pytest.Class)
    while owner is not None and (outer := owner.parent) and isinstance(outer, pytest.Class):
        owner = outer
    return owner.name if owner is not None else item.name.partition("[")[0]


def _fixtures(item: pytest.Item, folder: Path) -> set[Definition]:
    """The fixtures behind a test, those that override each other too."""
    info = getattr(item, "_fixtureinfo", None)
    found = {} if info is None else info.name2fixturedefs
    functions = [fixture.func for fixtures in found.values() for fixture in fixtures]
    return {place for function in functions for place in _definitions(function, item, folder)}


def _definitions(value: object, item: pytest.Item, folder: Path) -> set[Definition]:
    """Where a function or class, or that of a value, is defined, if that is in the suites."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return {place for element in value for place in _definitions(element, item, folder)}
    named = value if hasattr(value, "__qualname__") else type(value)
    code = getattr(named, "__code__", None)
    file = Path(code.co_filename) if code else _file_of_module(named.__module__, item)
    if file is None or not file.is_relative_to(folder):
        return set()
    return {Definition(file, named.__qualname__.partition(".")[0])}


def _file_of_module(name: str, item: pytest.Item) -> Path | None:
    module = getattr(item, "module", None)
    if module is not None and module.__name__ == name:
        return item.path
    file = getattr(sys.modules.get(name), "__file__", None)
    return None if file is None else Path(file)


def plain(value: object) -> object:
    """A parameter's value as JSON has it, without what differs between processes."""
    match value:
        case Enum():
            content: object = value.name
        case None | str() | bool() | int():
            content = value
        case float():
            content = repr(value)
        case bytes():
            content = value.hex()
        case Path():
            content = value.name  # where it lies is the machine's own
        case Mapping():
            content = [[plain(key), plain(item)] for key, item in value.items()]
        case set() | frozenset():
            content = sorted(repr(plain(element)) for element in value)
        case list() | tuple():
            content = [plain(element) for element in value]
        case _:
            content = _content(value)
    return [type(value).__name__, content]


def _content(value: object) -> object:
    """Of an object. Its class is part of the code; what else it holds may not be comparable."""
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return [[name, plain(getattr(value, name))] for name in names]
    if hasattr(value, "tolist"):  # an array or a number of numpy's
        return [str(getattr(value, "dtype", "")), plain(value.tolist())]
    return None
