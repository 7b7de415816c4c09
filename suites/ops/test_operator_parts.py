"""Every operator has all of its parts: none is left to the memory of who adds one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from stagegate import _C
from stagegate_harness.source_graph import Definition, SourceGraph
from suites.ops.operand_table import OPERATORS

SUITE = Path(__file__).parent
STUB = SUITE.parents[1] / "engine" / "stagegate" / "_C.pyi"
CORE = SUITE.parents[1] / "csrc"
NAMES = sorted(name for name in dir(_C.ops) if not name.startswith("_"))

# The rooms of the core: one includes those behind it. What operators share comes before them.
ROOMS = ("bindings", "runner", "model", "ops", "ops/simd", "kv", "device", "device/cuda", "core")

# It takes numbers alone: no tensor that could be wrong, or lie between boundaries.
WITHOUT_OPERANDS = {"make_rope_table"}
# They copy numbers, one at a time: there is nothing to round and no 16 bytes are loaded at once.
COPIES_INTEGERS = {"fill_sampled", "gather_rows", "record_samples", "set_rows"}

# A test against the exact result uses the formulas in float64, or the float64 values of operands.
REFERENCE_FILES = {"references.py", "sampling_reference.py"}
EXACT_VALUES = Definition(SUITE / "operands.py", "rounded")
SHIFTED = Definition(SUITE / "operands.py", "shifted")


@cache
def all_tests() -> dict[Definition, frozenset[Definition]]:
    """Every test of the suite, and what of the suites is behind it."""
    graph = SourceGraph(SUITE.parent)
    files = [file for file in SUITE.glob("test_*.py") if file != Path(__file__)]
    return {
        test: frozenset(behind(graph, test))
        for file in files
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        for test in [Definition(file, node.name)]
    }


def behind(graph: SourceGraph, test: Definition) -> Iterator[Definition]:
    waiting, seen = [test], {test}
    while waiting:
        definition = waiting.pop()
        yield definition
        found = set(graph.references(definition.file, tuple(graph.nodes(definition)))) - seen
        seen |= found
        waiting += found


@cache
def called(definition: Definition) -> frozenset[str]:
    """The operators that a definition names."""
    graph = SourceGraph(SUITE.parent)
    return frozenset(
        part.attr
        for node in graph.nodes(definition)
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute)
        and isinstance(part.value, ast.Name)
        and part.value.id == "ops"
    )


def what_tests(operator: str) -> list[frozenset[Definition]]:
    """What is behind each test that calls an operator; tests of wrong operands are another part."""
    return [
        definitions
        for test, definitions in all_tests().items()
        if test.file.name != "test_operand_errors.py"
        and any(operator in called(definition) for definition in definitions)
    ]


def test_the_stub_has_the_operators() -> None:
    tree = ast.parse(STUB.read_text("utf-8"))
    [ops] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "ops"]
    stubs = {node.name for node in ops.body if isinstance(node, ast.FunctionDef)}
    assert stubs == set(NAMES), f"the class ops of {STUB.name} has to name each of csrc/bindings"


def test_wrong_operands_are_tried_of_every_operator() -> None:
    wanted = set(NAMES) - WITHOUT_OPERANDS
    assert set(OPERATORS) == wanted, "OPERATORS of operand_table.py has to name each"


@pytest.mark.parametrize("operator", NAMES)
def test_an_operator_is_compared_with_exact_values(operator: str) -> None:
    copies = operator in COPIES_INTEGERS and what_tests(operator)
    assert copies or any(
        definition.file.name in REFERENCE_FILES or definition == EXACT_VALUES
        for definitions in what_tests(operator)
        for definition in definitions
    ), f"no test compares {operator} with its float64 value: references.py, test_{operator}.py"


@pytest.mark.parametrize("operator", sorted(set(NAMES) - WITHOUT_OPERANDS - COPIES_INTEGERS))
def test_an_operator_is_tried_between_boundaries(operator: str) -> None:
    assert any(SHIFTED in definitions for definitions in what_tests(operator)), (
        f"no test calls {operator} on `shifted` operands: a case in test_unaligned.py"
    )


def room_of(file: str) -> int:
    return max(i for i, room in enumerate(ROOMS) if file.startswith(f"{room}/"))


def test_no_include_of_the_core_runs_up() -> None:
    # Code for CUDA stands in `if constexpr`, so what serves every device may name it.
    same = {ROOMS.index("device"), ROOMS.index("device/cuda")}
    wrong = [
        f"{name} includes {included}"
        for file in sorted(CORE.rglob("*"))
        if file.suffix in {".h", ".cpp", ".cu", ".cuh"}
        for name in [file.relative_to(CORE).as_posix()]
        for included in re.findall(r'^#include "(.+)"$', file.read_text("utf-8"), re.MULTILINE)
        if room_of(included) < room_of(name)
        if not {room_of(included), room_of(name)} <= same
    ]
    assert not wrong


def test_the_device_names_no_operator() -> None:
    operators = "|".join(folder.name for folder in (CORE / "ops").iterdir() if folder.is_dir())
    named = [
        f"{file.relative_to(CORE)}: {text}"
        for file in sorted((CORE / "device").rglob("*.*"))
        for text in re.findall(rf'"(?:{operators}): ', file.read_text("utf-8"))
    ]
    # cuBLASLt serves linear alone, and says so where it has no algorithm.
    assert named == ['device/cuda/blas.cpp: "linear: ']


@pytest.mark.parametrize(
    "table", sorted(CORE.glob("ops/*/*faults.h")), ids=lambda file: file.parent.name
)
def test_every_fault_is_reported_and_has_a_sentence(table: Path) -> None:
    [(enum, body)] = re.findall(
        r"enum class (\w+) : FaultCode {(.*?)};", table.read_text(), re.DOTALL
    )
    codes = re.findall(r"^  (k\w+)", body, re.MULTILINE)
    assert codes
    sentences = table.with_suffix(".cpp").read_text()
    kernels = "".join(
        file.read_text() for file in table.parent.rglob("*") if file.suffix in {".cu", ".cuh"}
    )
    for code in codes:
        assert f"case {enum}::{code}:" in sentences
        assert f"{enum}::{code}" in kernels, f"no kernel for a GPU reports {code}"
