"""Benchmarks of pytest-benchmark alone, in a project that has no adapter."""

from __future__ import annotations

import pytest

from stagegate_baselines.record_file import read_record
from stagegate_baselines.records import Case
from suites.harness.conftest import Project

BENCHMARKS = """
import time

def spin(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass

def test_spin(benchmark):
    benchmark.pedantic(spin, (0.004,), rounds=3)

def test_quick(benchmark):
    benchmark.pedantic(int, rounds=250)

def test_wrong(benchmark):
    assert benchmark.pedantic(int, rounds=3) == 1, "zero"

def test_measured(measure):
    measure(lambda index: spin(0.004))
"""


@pytest.fixture
def bare(project: Project) -> Project:
    (project.path / "pyproject.toml").write_text("[tool.stagegate]\n")
    project.add_test("core/test_bench.py", BENCHMARKS)
    return project


def cases(project: Project, **variables: str) -> dict[str, Case]:
    done = project.run_process("suites/core", **variables)
    assert "3 passed" in done.stdout, done.stdout + done.stderr
    return {case.name: case for case in read_record(project.path / "record.json").cases}


def least(case: Case) -> float:
    return min(sample for sample in case.metrics[0].samples if sample is not None)


def test_each_is_a_case_with_a_sample_a_round(bare: Project) -> None:
    found = cases(bare)
    assert {name: len(case.metrics[0].samples) for name, case in found.items()} == {
        # More rounds than a record holds are put together.
        "test_spin": 3, "test_quick": 100, "test_wrong": 0, "test_measured": 4,
    }  # fmt: skip
    assert {case.metrics[0].name for case in found.values()} == {"latency_us"}
    assert {case.suite for case in found.values()} == {"core"}
    assert 4000 <= least(found["test_spin"]) < 400_000
    assert [case.name for case in found.values() if case.invalid] == ["test_wrong"]
    assert found["test_wrong"].invalid[0].startswith("the test failed: AssertionError: zero")


def test_their_work_has_an_identity(bare: Project) -> None:
    before = cases(bare)
    bare.add_test("core/test_bench.py", BENCHMARKS.replace("0.004", "0.005"))
    after = cases(bare)
    changed = {name for name in before if before[name].workload_hash != after[name].workload_hash}
    assert changed == {"test_spin", "test_measured"}


def test_a_planted_slowdown_makes_what_is_called_longer(bare: Project) -> None:
    found = cases(bare, STAGEGATE_PLANT="test_spin=200,test_measured=200")
    assert least(found["test_spin"]) >= 12_000
    assert least(found["test_measured"]) >= 12_000
