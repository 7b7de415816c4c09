"""Rounds of benchmarks are traced when everything has been timed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stagegate_baselines import launch_variables
from stagegate_baselines.record_file import read_record
from stagegate_baselines.records import Case
from stagegate_harness.options import SETTINGS
from stagegate_harness.traced_rounds import TracedRounds
from suites.harness.conftest import PYTHONPATH, Project, UseCupti
from suites.harness.fake_cupti import COPY, KERNEL, Kind

CASE = Case(
    name="test_kv_layout[slot/cold]", suite="offline", params={}, workload_hash=16 * "0",
    model_digest=None, metrics=(),
)  # fmt: skip


@pytest.fixture
def traced(tmp_path: Path) -> Callable[..., TracedRounds]:
    def make(cases: list[Case], device: str = "cuda") -> TracedRounds:
        stash = pytest.Stash()
        settings: Any = SimpleNamespace(device=device)
        stash[SETTINGS] = settings
        record = SimpleNamespace(name=str(tmp_path / "stage5.json"))
        start = SimpleNamespace(dir=tmp_path)
        config: Any = SimpleNamespace(
            stash=stash, getoption=lambda name, default: record, invocation_params=start
        )
        return TracedRounds(config, cases)

    return make


def test_a_case_gets_its_hot_path_and_its_timeline(
    use_cupti: UseCupti, traced: Callable[..., TracedRounds], tmp_path: Path
) -> None:
    use_cupti(KERNEL, COPY)
    cases = [CASE, CASE.model_copy(update={"name": "test_load"})]
    done: list[str] = []
    rounds = traced(cases)
    rounds.plan(CASE, lambda: done.append("work"), prepare=lambda: done.append("prepare"))
    assert done == []
    rounds.run()
    assert done == ["prepare", "work"]
    first, second = cases
    assert first.hot_path is not None
    assert [item.name for item in first.hot_path.kernels] == ["k"]
    assert second.hot_path is None
    [file] = (tmp_path / "stage5-traces").iterdir()
    assert file.name == "offline-test_kv_layout_slot_cold.json"
    assert '"host to device"' in file.read_text()


@pytest.mark.parametrize("why", ["cpu", "never", "missing", "invalid"])
def test_no_round_is_spent_where_nothing_can_be_traced(
    use_cupti: UseCupti,
    traced: Callable[..., TracedRounds],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    why: str,
) -> None:
    cupti = use_cupti(KERNEL)
    if why == "never":
        monkeypatch.setenv(launch_variables.KERNEL_TRACE, "never")
    if why == "missing":
        cupti.refused = Kind.CONCURRENT_KERNEL
    case = CASE.model_copy(update={"invalid": ("too hot",)}) if why == "invalid" else CASE
    rounds = traced([case], device="cpu" if why == "cpu" else "cuda")
    rounds.plan(CASE, pytest.fail, prepare=pytest.fail)
    rounds.run()
    assert (rounds.untraced is not None) == (why == "missing")
    assert rounds.errors == {}
    assert list(tmp_path.iterdir()) == []


# A GPU's machine for a process that has none: a binding that traces one kernel.
CONFTEST = """
from stagegate_harness import kernel_trace
from suites.adapter import plugin, requirements
from suites.harness.fake_cupti import KERNEL, FakeCupti

kernel_trace._load = lambda: FakeCupti(KERNEL)
requirements.missing_gpu = lambda: None
plugin.device_control = lambda: lambda: 0.0002
"""
TRACE = """
from stagegate_harness.kernel_trace import kernel_trace
events = []
@pytest.mark.requires_cupti
def test_trace(): events.append("traced test")
"""
BENCHMARKS = """
from test_a_trace import events
def test_fast(measure):
    measure(lambda index: events.append(f"fast {index}") or {"tokens_per_sec": 1.0})
def test_slow(measure):
    def run(index):
        events.append(f"slow {index}")
        assert index < 3, "the engine gave up " + ", ".join(events)
        return {"tokens_per_sec": 1.0}
    measure(run)
"""


def test_nothing_is_timed_after_a_trace(project: Project) -> None:
    (project.path / "conftest.py").write_text(CONFTEST)
    project.add_test("core/test_a_trace.py", TRACE)
    project.add_test("core/test_benchmarks.py", BENCHMARKS)
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-p", "stagegate_harness.plugin",
            "-p", "pytest_benchmark.plugin", "--bench-rounds", "3",
            "--benchmark-max-time", "0", "--device", "nvidia",
            "--benchmark-json", "record.json", "--rootdir", str(project.path), "suites/core",
        ],
        cwd=project.path, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    )  # fmt: skip
    timed = [f"{name} {index}" for name in ("fast", "slow") for index in (-1, 0, 1, 2)]
    order = ", ".join([*timed, "traced test", "fast 3", "slow 3"])
    assert (
        f"the traced round of test_slow: AssertionError: the engine gave up {order}" in done.stdout
    )
    # The tests passed; a benchmark that fails under the trace is a failure all the same.
    assert "3 passed" in done.stdout
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    fast, slow = read_record(project.path / "record.json").cases
    assert (fast.hot_path is None, slow.hot_path is None) == (False, True)
