"""What a benchmark does has the same hash as long as it does the same."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from stagegate_baselines.fingerprint import digest
from stagegate_baselines.record_file import read_record
from stagegate_harness.source_graph import Definition, SourceGraph
from stagegate_harness.work import work_of
from suites.harness.conftest import ROOT, Project

BENCHMARK = '''
import time
from dataclasses import dataclass
import below.tables
import shapes
from batches import make_batch as batch_of
from below import options
from below.constants import *

SIZE = 3
ROUNDS = SIZE + 1  # a constant that another needs
UNUSED = 5

@dataclass(frozen=True)
class Request:
    length: int

@pytest.fixture
def factor(base): return 2 * base

def local(value: int) -> int:
    """Say it twice."""
    return 2 * value

@pytest.mark.parametrize("request_", [Request(8)], ids=["short"])
@pytest.mark.parametrize("rows", [1, 8])
def test_case(measure, factor, rows, request_):
    def run(index: int):
        began = time.perf_counter()
        batch = batch_of(rows, ROUNDS)
        total = local(sum(batch)) * factor + shapes.area(rows) + below.tables.TABLE[0]
        total += DEPTH + options.STEP
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "requests": len(batch)}
    measure(run)

class TestClass:
    def size(self): return 4
    def test_method(self, measure):
        measure(lambda index: {"requests": self.size()})
    def test_neighbour(self): pass
'''
FILES = {
    "test_bench.py": BENCHMARK,
    "conftest.py": "@pytest.fixture\ndef base(): return deep()\n"
    "def deep(): return 7\n@pytest.fixture\ndef other(): return 1\n",
    "batches.py": "import numbers_of as numbers\n\n"
    "def make_batch(rows, count): return numbers.few(count) * rows\n"
    "def make_other(): return 0\n",
    "numbers_of.py": "def few(count): return list(range(count))\ndef many(): return 1000\n",
    "shapes.py": "def area(rows): return rows * WIDTH\nWIDTH = 3\nHEIGHT = 4\n",
    "below/tables.py": "TABLE = [1]\nTABLE.append(2)\nOTHER = [1]\n",
    "below/constants.py": "DEPTH = 1\n",
    "below/options.py": "STEP = 1\nOTHER = 1\n",
}


Hashes = dict[str, str]
HashesOf = Callable[[dict[str, str]], Hashes]


def write(project: Project, files: dict[str, str]) -> None:
    for name, text in files.items():
        project.add_test(f"core/{name}", text)


@pytest.fixture
def hashes_of(
    project: Project, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> HashesOf:
    """What every benchmark of core/ does, when its files are the given ones."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # files change faster than clocks tell

    def hashes_of(files: dict[str, str]) -> Hashes:
        write(project, files)
        items, _ = pytester.inline_genitems("-p", "stagegate_harness.plugin", "suites")
        measured = [
            item
            for item in items
            if isinstance(item, pytest.Function) and "measure" in item.fixturenames
        ]
        return {item.name: digest(work_of(item)) for item in measured}

    return hashes_of


CASES = {"test_case[1-short]", "test_case[8-short]"}


def edited(*changes: tuple[str, str, str]) -> dict[str, str]:
    files = dict(FILES)
    for name, old, new in changes:
        assert old in files[name], old
        files[name] = files[name].replace(old, new)
    return files


CALL = "batch = batch_of(rows, ROUNDS)"
MARK = '@pytest.mark.parametrize("rows"'
OTHER_BENCHMARK = """def test_new(measure):
    measure(lambda index: {'seconds': 1.0})
class TestClass:"""
# What is changed: file, words and the words in their place.
SAME = {
    "another benchmark": ("test_bench.py", "class TestClass:", OTHER_BENCHMARK),
    "another method": ("test_bench.py", "test_neighbour(self): pass", "test_n2(self): return 1"),
    "another metric": ("test_bench.py", '"requests":', '"ratio": 1, "requests":'),
    "a metric of others": ("test_bench.py", '"requests":', '"ratio": 64 / seconds, "requests":'),
    "a clock": ("test_bench.py", CALL, f"cpu = time.process_time()\n        {CALL}"),
    "a metric of a clock": (
        "test_bench.py",
        '"requests":',
        '"avg_ttft_ms": 1e3 * (time.perf_counter() - began), "requests":',
    ),
    "a declared metric": ("test_bench.py", "measure(run)", "measure(run, metrics={})"),
    "a comment": ("test_bench.py", "# a constant", "# a number"),
    "a blank line": ("test_bench.py", "SIZE = 3", "SIZE = (\n    3\n)\n\n"),
    "a docstring": ("test_bench.py", '    """Say it twice."""\n', ""),
    "an annotation": ("test_bench.py", "value: int) -> int", "value: float) -> float"),
    "another constant": ("test_bench.py", "UNUSED = 5", "UNUSED = 6"),
    "another fixture": ("conftest.py", "def other(): return 1", "def other(): return 2"),
    "another helper": ("batches.py", "make_other(): return 0", "make_other(): return 1"),
    "another helper further on": ("numbers_of.py", "return 1000", "return 1001"),
    "another constant of a module": ("shapes.py", "HEIGHT = 4", "HEIGHT = 5"),
    "another constant of a folder": ("below/options.py", "OTHER = 1", "OTHER = 2"),
    "another table": ("below/tables.py", "OTHER = [1]", "OTHER = [2]"),
    "another parameter": ("test_bench.py", '"rows", [1, 8]', '"rows", [1, 8, 64]'),
    "a mark": ("test_bench.py", MARK, f"@pytest.mark.criterion('s0.one')\n{MARK}"),
}

OTHER = {
    "its own work": ("test_bench.py", "local(sum(batch))", "local(max(batch))"),
    "a helper": ("test_bench.py", "return 2 * value", "return 3 * value"),
    "a constant of a constant": ("test_bench.py", "SIZE = 3", "SIZE = 4"),
    "a fixture": ("test_bench.py", "return 2 * base", "return 3 * base"),
    "a fixture of a fixture": ("conftest.py", "return deep()", "return -deep()"),
    "a helper of a fixture": ("conftest.py", "deep(): return 7", "deep(): return 8"),
    "a helper in another module": ("batches.py", "(count) * rows", "(count) * 2 * rows"),
    "a helper of it in a third": ("numbers_of.py", "list(range(count))", "[*range(count)][::-1]"),
    "a helper of a module": ("shapes.py", "rows * WIDTH", "rows + WIDTH"),
    "a constant of a module": ("shapes.py", "WIDTH = 3", "WIDTH = 4"),
    "a constant of a folder": ("below/options.py", "STEP = 1", "STEP = 2"),
    "a table of a dotted module": ("below/tables.py", "TABLE = [1]", "TABLE = [3]"),
    "what changes a table": ("below/tables.py", "TABLE.append(2)", "TABLE.append(3)"),
    "what a star imports": ("below/constants.py", "DEPTH = 1", "DEPTH = 2"),
    "a parameter's value behind the same id": ("test_bench.py", "Request(8)", "Request(9)"),
    "a class of parameters": ("test_bench.py", "length: int", "length: int = 0"),
    "a metric that works": ("test_bench.py", "len(batch)", "len(list(batch))"),
    "a deadline": ("test_bench.py", CALL, f"end = time.monotonic() + 1\n        {CALL}"),
}


@pytest.mark.parametrize("name", SAME)
def test_what_does_not_change_the_work(hashes_of: HashesOf, name: str) -> None:
    before = hashes_of(FILES)
    assert set(before) == {*CASES, "test_method"}
    after = hashes_of(edited(SAME[name]))
    assert {case: after[case] for case in before} == before


@pytest.mark.parametrize("name", OTHER)
def test_what_changes_the_work(hashes_of: HashesOf, name: str) -> None:
    before = hashes_of(FILES)
    after = hashes_of(edited(OTHER[name]))
    assert {case for case in before if after[case] != before[case]} == CASES


def test_what_a_class_has_changes_the_work_of_its_methods(hashes_of: HashesOf) -> None:
    before = hashes_of(FILES)
    after = hashes_of(edited(("test_bench.py", "return 4", "return 5")))
    assert {case for case in before if after[case] != before[case]} == {"test_method"}


VERSION = '@pytest.mark.workload_version({})\n@pytest.mark.parametrize("rows"'


def version(number: int) -> tuple[str, str, str]:
    return "test_bench.py", MARK, f"@pytest.mark.workload_version({number})\n{MARK}"


def test_a_stated_version_stands_for_the_code(hashes_of: HashesOf) -> None:
    stated = hashes_of(edited(version(1)))
    other = OTHER["its own work"], OTHER["a helper in another module"]
    assert hashes_of(edited(version(1), *other)) == stated
    again = hashes_of(edited(version(2)))
    assert {case for case in stated if again[case] != stated[case]} == CASES


def test_the_harness_is_not_the_work(project: Project, pytester: pytest.Pytester) -> None:
    """What measures may change without a change of what is measured."""
    write(project, FILES)
    items, _ = pytester.inline_genitems("-p", "stagegate_harness.plugin", "suites")
    for item in items:
        work: dict[str, Any] = work_of(item)
        assert all(not place.startswith("harness/") for place, _, _ in work.get("code", ()))


def test_a_hash_is_the_same_in_every_process_and_place(project: Project) -> None:
    write(project, FILES)
    hashes = []
    for seed in ("1", "2"):
        done = project.run_process("suites/core", PYTHONHASHSEED=seed)
        assert done.returncode == 0, done.stdout + done.stderr
        cases = read_record(project.path / "record.json").cases
        hashes.append({case.name: case.workload_hash for case in cases})
    assert hashes[0] == hashes[1]
    assert set(hashes[0]) == {*CASES, "test_method"}


def test_the_code_of_a_case_is_found_across_files(
    project: Project, pytester: pytest.Pytester
) -> None:
    write(project, FILES)
    items, _ = pytester.inline_genitems("-p", "stagegate_harness.plugin", "suites")
    work: dict[str, Any] = work_of(items[0])
    places = [(place, name) for place, name, _ in work["code"]]
    assert places == [
        ("core/batches.py", "make_batch"),
        ("core/below/constants.py", "DEPTH"),
        ("core/below/options.py", "STEP"),
        ("core/below/tables.py", "TABLE"),
        ("core/conftest.py", "base"),
        ("core/conftest.py", "deep"),
        ("core/numbers_of.py", "few"),
        ("core/shapes.py", "WIDTH"),
        ("core/shapes.py", "area"),
        ("core/test_bench.py", "ROUNDS"),
        ("core/test_bench.py", "Request"),
        ("core/test_bench.py", "SIZE"),
        ("core/test_bench.py", "factor"),
        ("core/test_bench.py", "local"),
        ("core/test_bench.py", "test_case"),
    ]


def test_what_the_operators_of_this_tree_do_is_found() -> None:
    """Through packages and their modules, as its own benchmarks import them."""
    folder = ROOT / "suites"
    graph = SourceGraph(folder)
    file = folder / "ops" / "test_bench_operators.py"
    nodes = tuple(graph.nodes(Definition(file, "test_swiglu")))
    found = {
        (place.file.relative_to(folder).as_posix(), place.name)
        for place in graph.references(file, nodes)
    }
    assert {
        ("ops/references.py", "swiglu"), ("ops/operands.py", "load"), ("ops/bounds.py",
        "assert_within"), ("ops/test_bench_operators.py", "INTERMEDIATE"),
    } <= found  # fmt: skip
    assert not {name for _, name in found} & {"test_linear", "rms_norm", "VOCAB", "make_batch"}
