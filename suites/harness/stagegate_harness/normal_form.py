"""Source code without what does not change the work it does."""

from __future__ import annotations

import ast
import copy
from functools import cache

# Differ without a difference in meaning, or between versions of Python.
_FORM_FIELDS = ("ctx", "kind", "type_comment")
_NUMBERS = (ast.Name, ast.Constant, ast.Attribute, ast.UnaryOp, ast.operator, ast.unaryop)
_READ = (*_NUMBERS, ast.BinOp, ast.Call, ast.expr_context)


@cache
def plain_nodes(nodes: tuple[ast.AST, ...]) -> list[object]:
    """Nodes as plain data: the same in every version of Python and wherever they are written."""
    return [_plain(node) for node in nodes]


def _plain(node: object) -> object:
    if isinstance(node, list):
        return [_plain(element) for element in node]
    if isinstance(node, ast.Constant):
        return ["Constant", f"{type(node.value).__name__} {node.value!r}"]
    if not isinstance(node, ast.AST):
        return f"{type(node).__name__} {node!r}"
    fields = {
        name: _plain(value)
        for name, value in ast.iter_fields(node)
        if name not in _FORM_FIELDS and value is not None and value != []
    }
    return [type(node).__name__, fields]


@cache  # many cases have helpers in common
def normal_nodes(nodes: tuple[ast.AST, ...], test: str | None) -> tuple[ast.AST, ...]:
    """Copies without docstrings, annotations of arguments, and decorators of pytest.

    test: name of the test that they are, or have as a method; then also without the other tests and
    without what is only read: clocks, and metrics that the measured function returns.
    """
    return tuple(_Normal(test).visit(copy.deepcopy(node)) for node in nodes)


class _Normal(ast.NodeTransformer):
    def __init__(self, test: str | None) -> None:
        self._test = test
        # Names of the functions that the test measures.
        self._measured: set[str] = set()

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._with_body(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        if self._test is not None:
            node.body = [
                part
                for part in node.body
                if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
                or not part.name.startswith("test")
                or part.name == self._test
            ]
        return self._with_body(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        arguments = node.args
        for argument in (
            *arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs,
            *filter(None, (arguments.vararg, arguments.kwarg)),
        ):  # fmt: skip
            argument.annotation = None
        if node.name == self._test:
            self._measured = set(_measured(node))
        if self._test is not None and node.name in self._measured:
            for part in ast.walk(node):
                if isinstance(part, ast.Return) and isinstance(part.value, ast.Dict):
                    _drop_readings(part.value)
        return self._with_body(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if self._test is not None and _is_measure(node):
            node.keywords = [word for word in node.keywords if word.arg != "metrics"]
            for argument in node.args:
                if isinstance(argument, ast.Lambda) and isinstance(argument.body, ast.Dict):
                    _drop_readings(argument.body)
        return self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        names = all(isinstance(target, ast.Name) for target in node.targets)
        reads = self._test is not None and names and _reads_clock(node.value)
        return None if reads else self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST | None:
        reads = self._test is not None and _reads_clock(node.value)
        return None if reads else self.generic_visit(node)

    def _with_body(
        self, node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    ) -> ast.AST:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        if not isinstance(node, ast.Module):
            node.decorator_list = [one for one in node.decorator_list if not _is_of_pytest(one)]
        return self.generic_visit(node)


def _measured(test: ast.AST) -> list[str]:
    calls = [node for node in ast.walk(test) if isinstance(node, ast.Call) and _is_measure(node)]
    return [part.id for call in calls for part in call.args if isinstance(part, ast.Name)]


def _is_measure(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "measure"


def _is_of_pytest(decorator: ast.expr) -> bool:
    while isinstance(decorator, ast.Call | ast.Attribute):
        decorator = decorator.func if isinstance(decorator, ast.Call) else decorator.value
    return isinstance(decorator, ast.Name) and decorator.id == "pytest"


def _drop_readings(metrics: ast.Dict) -> None:
    """Metrics that only say what is known or read a clock: the call behind another is work."""
    kept = [
        (key, value)
        for key, value in zip(metrics.keys, metrics.values, strict=True)
        if key is None or not _is_reading(value)
    ]
    metrics.keys, metrics.values = [key for key, _ in kept], [value for _, value in kept]


def _is_reading(value: ast.expr) -> bool:
    parts = list(ast.walk(value))
    return all(isinstance(part, (*_READ, ast.Subscript)) for part in parts) and all(
        _is_clock(part) for part in parts if isinstance(part, ast.Call)
    )


def _reads_clock(value: ast.expr) -> bool:
    """A moment or a duration. A sum may be a deadline, which is work."""
    parts = list(ast.walk(value))
    return (
        _is_reading(value)
        and any(isinstance(part, ast.Call) for part in parts)
        and not any(isinstance(part, ast.Add) for part in parts)
    )


def _is_clock(call: ast.Call) -> bool:
    function = call.func
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "time"
        and function.attr != "sleep"
        and not call.args
    )
