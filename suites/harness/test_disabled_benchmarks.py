"""Where pytest-benchmark does not measure, benchmarks are skipped and nothing is an error."""

from __future__ import annotations

import json

import pytest

from suites.harness.conftest import Project

BENCHMARK = """
@pytest.mark.criterion("s0.one")
@pytest.mark.parametrize("size", [1, 2])
def test_measured(measure, size):
    assert measure(lambda index: {"seconds": 1.0})

def test_plain(benchmark):
    assert benchmark(lambda: 3) == 3

@pytest.mark.criterion("s0.two")
def test_other():
    pass
"""

# What pytest-benchmark knows a worker of pytest-xdist by.
WORKER = {"PYTEST_XDIST_WORKER": "gw0"}


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(["--benchmark-disable"], {}), ([], WORKER), (["--benchmark-disable"], WORKER)],
    ids=["switched off", "in parallel", "both"],
)
def test_disabled_benchmarks_are_skipped_with_the_reason(
    project: Project, arguments: list[str], variables: dict[str, str]
) -> None:
    project.add_test("core/test_bench.py", BENCHMARK)
    done = project.run_process("--stage", "stage0", "-rs", *arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    # One that measures nothing of ours runs once, which is pytest-benchmark's way.
    assert "2 passed, 2 skipped in" in done.stdout
    assert "benchmarks are disabled, by --benchmark-disable or because" in done.stdout


def test_what_was_not_measured_is_neither_recorded_nor_proved(project: Project) -> None:
    project.add_test("core/test_bench.py", BENCHMARK)
    project.run_process("--stage", "stage0", "--benchmark-disable")
    record = json.loads((project.path / "record.json").read_text())["stagegate"]
    assert record["cases"] == []
    states = {item["criterion"]: item["state"] for item in record["evidence"]}
    assert states == {"s0.one": "unproved", "s0.two": "proved"}


def test_enabled_again_they_are_measured(project: Project) -> None:
    project.add_test("core/test_bench.py", BENCHMARK)
    done = project.run_process("--benchmark-disable", "--benchmark-enable")
    assert "4 passed in" in done.stdout
    record = json.loads((project.path / "record.json").read_text())["stagegate"]
    assert [case["name"] for case in record["cases"]] == [
        "test_measured[1]", "test_measured[2]", "test_plain",
    ]  # fmt: skip
