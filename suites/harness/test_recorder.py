"""The record that a run leaves in pytest-benchmark's file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from baselines.record_file import SECTION
from baselines.records import Record
from suites.harness.conftest import Project

BENCHMARK = """
import time

@pytest.mark.criterion("s0.one")
@pytest.mark.parametrize("layout", ["block", "slot"])
def test_case(measure, layout):
    def run(index):
        if layout == "slot" and index == 1:
            measure.invalid("wrong tokens")
        return {"tokens_per_sec": 100.0 + index, "completion_tokens": 64}
    assert len(measure(run)["tokens_per_sec"]) == 4

@pytest.mark.criterion("s0.two")
@pytest.mark.skip(reason="no such thing")
def test_skipped(): pass
"""


@pytest.fixture
def file(project: Project) -> Path:
    """The file of a run with two benchmark cases, in a process of its own."""
    project.add_test("core/test_bench.py", BENCHMARK)
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-p", "suites.harness.plugin",
            "-p", "pytest_benchmark.plugin", "--stage", "stage0", "--bench-rounds", "4",
            "--benchmark-json", "record.json", "--rootdir", str(project.path),
        ],
        cwd=project.path, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "record: " in done.stdout
    return project.path / "record.json"


def test_the_record_holds_samples_and_evidence(file: Path) -> None:
    content = json.loads(file.read_text())
    record = Record.model_validate(content[SECTION])
    assert record.stage == "stage0"
    block, slot = record.cases
    assert (block.name, block.suite, block.params["layout"]) == (
        "test_case[block]",
        "core",
        "block",
    )
    [rate] = [metric for metric in block.metrics if metric.name == "tokens_per_sec"]
    # The warm-up is not a sample.
    assert rate.samples == (100.0, 101.0, 102.0, 103.0)
    assert (rate.unit, rate.better.value) == ("tok/s", "higher")
    assert block.workload_hash != slot.workload_hash
    assert (block.invalid, slot.invalid) == ((), ("wrong tokens",))
    states = {evidence.criterion: evidence.state for evidence in record.evidence}
    assert states == {"s0.one": "proved", "s0.two": "unproved"}
    [skipped] = record.evidence[1].tests
    assert (skipped.outcome, skipped.reason) == ("skipped", "no such thing")


def test_pytest_benchmark_still_reads_the_file(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", str(file)],
        cwd=file.parent, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "test_case[block]" in done.stdout
