"""The example project, through the real command line: gated twice, and reported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from suites.harness.conftest import PYTHONPATH

EXAMPLE = Path(__file__).parent / "example"
QUICK = ("--benchmark-max-time=0.05", "--benchmark-min-rounds=9", "--bench-rounds=9")
# The work four times: what a busy host hides nothing of.
PLANT = (
    "def primes_below(limit: int) -> list[int]:\n",
    "def primes_below(limit: int) -> list[int]:\n"
    "    for _ in range(3):\n        _sieve(limit)\n    return _sieve(limit)\n\n\n"
    "def _sieve(limit: int) -> list[int]:\n",
)


class Example:
    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        # As an environment with nothing but the harness: other plugins cost a launch seconds.
        environment = os.environ | {
            "PYTHONPATH": PYTHONPATH,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "-p pytest_benchmark.plugin -p stagegate_harness.rootdir",
        }
        return subprocess.run(
            command, cwd=self.root, capture_output=True, text=True, check=False, timeout=300,
            env=environment,
        )  # fmt: skip

    def harness(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "stagegate_harness", *arguments)

    def commit(self, message: str) -> None:
        who = ("-c", "user.name=name", "-c", "user.email=name@example.com")
        for command in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", message)):
            done = self.run("git", *command)
            assert done.returncode == 0, done.stderr

    def gate(self, launches: int) -> tuple[dict[str, str], Path]:
        """Verdicts by metric of HEAD against the commit before it, and where they lie."""
        done = self.harness(
            "gate", "stage0", "--against", "HEAD~1", "--launches", str(launches), "--", *QUICK
        )
        assert done.returncode in (0, 1, 3), done.stdout + done.stderr
        assert done.stdout, done.stderr
        file = Path(done.stdout.splitlines()[-1])
        judgements = json.loads(file.read_text())["judgements"]
        return {item["metric"]: item["verdict"] for item in judgements}, file.parent


@pytest.fixture
def example(tmp_path: Path) -> Example:
    root = tmp_path / "primes"
    shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    example = Example(root)
    example.commit("Begin")
    return example


def test_a_gate_finds_the_slowdown_of_a_commit(example: Example) -> None:
    (example.root / "notes.txt").write_text("nothing that runs")
    example.commit("Write something down")
    unchanged, _ = example.gate(launches=2)
    assert unchanged.keys() == {"primes_per_s", "latency_us"}
    assert "regressed" not in unchanged.values()

    module = example.root / "primes" / "__init__.py"
    module.write_text(module.read_text().replace(*PLANT))
    example.commit("Do the work four times")
    slower, folder = example.gate(launches=3)
    # A host with much other work may leave one of them open, and calls neither anything else.
    assert "regressed" in slower.values()
    assert set(slower.values()) <= {"regressed", "inconclusive"}

    done = example.harness("report", "--gate", str(folder))
    assert done.returncode == 0, done.stderr
    page = (example.root / "reports" / "report.html").read_text("utf-8")
    assert "<title>Primes: " in page
    assert "✗ regressed" in (example.root / "reports" / "report.md").read_text("utf-8")


def test_a_run_proves_its_criteria(example: Example) -> None:
    done = example.run(
        sys.executable, "-m", "pytest", "--stage", "stage0", *QUICK,
        "--benchmark-json", "reports-run.json",
    )  # fmt: skip
    assert "stage0 passed: 2 of 2 criteria proved" in done.stdout, done.stdout + done.stderr
    record = json.loads((example.root / "reports-run.json").read_text())["stagegate"]
    assert [(case["suite"], case["name"]) for case in record["cases"]] == [
        ("speed", "test_sieve"), ("speed", "test_small_sieve"),
    ]  # fmt: skip
    [metric] = record["cases"][1]["metrics"]
    assert (metric["name"], metric["unit"], metric["better"]) == ("latency_us", "us", "lower")
    assert metric["metric_class"] == "latency-p50"
    assert 3 <= len(metric["samples"]) <= 100
