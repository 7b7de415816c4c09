"""What definitions in the suites refer to by name, found without importing anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, order=True)
class Definition:
    """A name at the top of a file: a function, a class, a constant; "" is the whole file."""

    file: Path
    name: str


class SourceGraph:
    """Modules below `folder`, which lies in the root of their imports."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def nodes(self, definition: Definition) -> list[ast.AST]:
        """The statements that make a definition; empty where the file has none of its name."""
        module = self._module(definition.file)
        return [module.tree] if not definition.name else module.statements.get(definition.name, [])

    def references(self, file: Path, nodes: tuple[ast.AST, ...]) -> Iterator[Definition]:
        """What these statements of a file name, in it or in another one below the folder."""
        module = self._module(file)
        imports = module.imports | _all_imports(nodes)
        for chain in _all_chains(nodes):
            if chain[0] in module.statements:
                yield Definition(file, chain[0])
            elif chain[0] in imports:
                yield from self._imported(file, (*imports[chain[0]], *chain[1:]))
            else:
                for package in module.stars:
                    yield from self._imported(file, (*package, *chain))

    def _imported(self, file: Path, dotted: tuple[str, ...]) -> Iterator[Definition]:
        """A dotted name from a module on; leading dots of a relative import are parts of it."""
        for length in range(len(dotted), 0, -1):
            found = self._find(file, dotted[:length])
            if found is None:
                continue
            rest = dotted[length:]
            if not rest:
                yield Definition(found, "")
                return
            module = self._module(found)
            if rest[0] in module.statements:
                yield Definition(found, rest[0])
            elif rest[0] in module.imports:
                yield from self._imported(found, (*module.imports[rest[0]], *rest[1:]))
            return

    def _find(self, file: Path, dotted: tuple[str, ...]) -> Path | None:
        levels = sum(part == "." for part in dotted)
        names = dotted[levels:]
        # What has no package above it finds its neighbours too.
        roots = [file.parents[levels - 1]] if levels else [self._folder.parent, file.parent]
        for root in roots:
            base = root.joinpath(*names)
            for path in (base.with_suffix(".py") if names else base, base / "__init__.py"):
                if path.is_relative_to(self._folder) and path.is_file():
                    return path
        return None

    def _module(self, file: Path) -> _Module:
        return _parse(file.read_text("utf-8"))


@dataclass(frozen=True)
class _Module:
    """imports: name -> the dotted name it stands for. stars: what all names are imported from."""

    tree: ast.Module
    statements: dict[str, list[ast.AST]]
    imports: dict[str, tuple[str, ...]]
    stars: list[tuple[str, ...]]


@cache
def _parse(source: str) -> _Module:
    tree = ast.parse(source)
    statements: dict[str, list[ast.AST]] = {}
    imports: dict[str, tuple[str, ...]] = {}
    for statement in _top(tree.body):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            imports |= _imports(statement)
        for name in _defined(statement):
            statements.setdefault(name, []).append(statement)
    stars = [dotted[:-1] for name, dotted in imports.items() if name.startswith("*")]
    return _Module(tree, statements, imports, stars)


_SCOPE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those under if, try, with and for included."""
    for statement in body:
        yield statement
        if isinstance(statement, _SCOPE):
            continue
        for field in ("body", "orelse", "finalbody"):
            yield from _top(getattr(statement, field, []))
        for handler in getattr(statement, "handlers", []):
            yield from _top(handler.body)


def _defined(statement: ast.stmt) -> set[str]:
    """Names that a statement gives a value, or changes the value of."""
    if isinstance(statement, _SCOPE):
        return {statement.name}
    if isinstance(statement, ast.Assign):
        return {name for target in statement.targets for name in _stored(target)}
    if isinstance(statement, ast.AnnAssign | ast.AugAssign):
        return set(_stored(statement.target))
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return set(_stored(statement.value.func)) - {"pytest"}  # TABLE.update(...)
    return set()


def _stored(target: ast.expr) -> Iterator[str]:
    if isinstance(target, ast.Tuple | ast.List):
        for element in target.elts:
            yield from _stored(element)
    elif isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Attribute | ast.Subscript | ast.Starred):
        yield from _stored(target.value)


@cache
def _all_imports(nodes: tuple[ast.AST, ...]) -> dict[str, tuple[str, ...]]:
    return {name: dotted for node in nodes for name, dotted in _imports(node).items()}


def _imports(node: ast.AST) -> dict[str, tuple[str, ...]]:
    """Names that imports anywhere in a node bind."""
    found: dict[str, tuple[str, ...]] = {}
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            for alias in part.names:
                dotted = tuple(alias.name.split("."))
                found[alias.asname or dotted[0]] = dotted if alias.asname else dotted[:1]
        elif isinstance(part, ast.ImportFrom):
            module = (*("." * part.level), *filter(None, (part.module or "").split(".")))
            for alias in part.names:
                star = f"*{'.'.join(module)}" if alias.name == "*" else None
                found[star or alias.asname or alias.name] = (*module, alias.name)
    return found


@cache
def _all_chains(nodes: tuple[ast.AST, ...]) -> frozenset[tuple[str, ...]]:
    return frozenset(chain for node in nodes for chain in _chains(node))


def _chains(node: ast.AST) -> Iterator[tuple[str, ...]]:
    """Names that a node reads, each with the attributes that are read of it: ("ops", "add")."""
    if isinstance(node, ast.Attribute):
        chain = _chain(node)
        if chain is not None:
            yield chain
            return
    if isinstance(node, ast.Name):
        yield (node.id,)
    for child in ast.iter_child_nodes(node):
        yield from _chains(child)


def _chain(node: ast.expr) -> tuple[str, ...] | None:
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        outer = _chain(node.value)
        return None if outer is None else (*outer, node.attr)
    return None
