"""Imports of the engine point one way, those for annotations alone included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ENGINE = Path(__file__).parents[2] / "engine" / "stagegate"
# A room imports those behind it. The last one is plain data, and what loads the core.
ROOMS = (
    *("__main__", "doctor", "server", "serving", "async_llm", "llm", "build", "core"),
    *("execution", "kv", "structured", "text", "models", "data"),
)
DATA = {"arrays", "config", "errors", "native", "outputs", "progress", "sampling"}
# The package itself names what a caller may import from it.
FILES = {
    "stagegate." + ".".join(path.relative_to(ENGINE).with_suffix("").parts): path
    for path in sorted(ENGINE.rglob("*.py"))
    if path.name != "__init__.py"
}
OUTSIDE = {"suites", "stagegate_harness", "stagegate_baselines", "stagegate_reports", "torch"}


@cache
def imports(module: str) -> frozenset[str]:
    """What a module names in its import statements, wherever they are."""
    return frozenset(_named(ast.parse(FILES[module].read_text("utf-8"))))


def _named(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.level == 0  # the engine's are absolute
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in FILES else node.module for name in whole)


def room_of(module: str) -> int:
    name = module.split(".")[1]
    return ROOMS.index("data" if name in DATA else name)


def test_no_import_runs_up() -> None:
    assert [
        f"{module} imports {other}"
        for module in FILES
        for other in imports(module) & FILES.keys()
        if room_of(other) < room_of(module)
    ] == []


def test_no_modules_import_each_other() -> None:
    order = TopologicalSorter({module: imports(module) & FILES.keys() for module in FILES})
    assert set(order.static_order()) == set(FILES)


def test_the_engine_needs_neither_the_harness_nor_torch() -> None:
    assert [
        f"{module} imports {other}"
        for module in FILES
        for other in imports(module)
        if other.split(".")[0] in OUTSIDE
    ] == []
