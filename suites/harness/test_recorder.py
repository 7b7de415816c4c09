"""The record that a run leaves in pytest-benchmark's file."""

from __future__ import annotations

import getpass
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Container
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stagegate_baselines.project import load_project
from stagegate_baselines.record_file import read_record
from stagegate_baselines.records import Better, TelemetrySample
from stagegate_baselines.store import Store
from stagegate_harness.cases import CASES, METRICS, PARAMS
from stagegate_harness.measure import MOST_ROUNDS, TELEMETRY, Measure
from stagegate_harness.options import PROJECT, SETTINGS
from stagegate_harness.traced_rounds import TRACED_ROUNDS, TracedRounds
from stagegate_reports.assemble import assemble
from stagegate_reports.files import load_plans
from suites.adapter.metrics import KINDS
from suites.adapter.options import Workload
from suites.harness.conftest import Project

BENCHMARK = """
import time

@pytest.mark.criterion("s0.one")
@pytest.mark.parametrize("kv_layout", ["block", "slot"])
def test_case(measure, kv_layout):
    def run(index):
        if kv_layout == "slot" and index == 1:
            measure.invalid("wrong tokens")
        return {"tokens_per_sec": 100.0 + index, "completion_tokens": 64}
    assert len(measure(run)["tokens_per_sec"]) == 4

@pytest.mark.criterion("s0.two")
@pytest.mark.skip(reason="no such thing")
def test_skipped(): pass
"""

# Beside a benchmark; what it proves is not asked for where only benchmarks run.
TEST = """
@pytest.mark.criterion("s0.one")
def test_other(): assert False
"""


@pytest.fixture
def file(project: Project) -> Path:
    """The file of a run with two benchmark cases."""
    project.add_test("core/test_bench.py", BENCHMARK)
    done = project.run_process("--stage", "stage0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "record: " in done.stdout
    return project.path / "record.json"


def test_the_record_holds_samples_and_evidence(file: Path) -> None:
    record = read_record(file)
    assert record.stage == "stage0"
    block, slot = record.cases
    assert (block.name, block.suite, block.params["kv_layout"]) == (
        "test_case[block]",
        "core",
        "block",
    )
    [rate] = [metric for metric in block.metrics if metric.name == "tokens_per_sec"]
    # The warm-up is not a sample.
    assert rate.samples == (100.0, 101.0, 102.0, 103.0)
    assert (rate.unit, rate.better) == ("tok/s", Better.HIGHER)
    assert block.workload_hash != slot.workload_hash
    assert (block.invalid, slot.invalid) == ((), ("wrong tokens",))
    states = {evidence.criterion: evidence.state for evidence in record.evidence}
    assert states == {"s0.one": "proved", "s0.two": "unproved"}
    [skipped] = record.evidence[1].tests
    assert (skipped.outcome, skipped.reason) == ("skipped", "no such thing")


def test_a_control_loop_runs_beside_every_round(file: Path) -> None:
    for case in read_record(file).cases:
        assert len(case.control) == len(case.metrics[0].samples) == 4
        # Milliseconds, on any processor this can run on.
        assert all(1e-4 < seconds < 5.0 for seconds in case.control)
        # A processor cannot give more than there was; the two clocks are read one after the other.
        assert all(
            0 < cpu < wall + 1e-3 for cpu, wall in zip(case.control_cpu, case.control, strict=True)
        )
        assert case.device_control == ()
        assert case.host is not None
        assert {len(case.host.wall), len(case.host.cpu), len(case.host.children)} == {4}


def test_others_read_the_file(file: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    record = read_record(file)
    assert store.load(store.add(record, "run")) == record
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", str(file)],
        cwd=file.parent, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "test_case[block]" in done.stdout


BROKEN = """
from pathlib import Path
@pytest.mark.criterion("s0.one")
@pytest.mark.parametrize("folder", [str(Path(__file__).parent)])
def test_fails(folder):
    raise FileNotFoundError(f"nothing in {folder}")
@pytest.mark.criterion("s0.two")
def test_skips(tmp_path):
    pytest.skip(f"no model in {tmp_path}")
@pytest.mark.parametrize("folder", [str(Path(__file__).parent)])
def test_measures(measure, folder):
    def run(index):
        measure.invalid(f"bad file {folder}/weights")
        return {"tokens_per_sec": 1.0}
    measure(run)
"""


def test_nothing_personal_is_in_the_file(project: Project) -> None:
    project.add_test("core/test_broken.py", BROKEN)
    assert project.run_process("--stage", "stage0").returncode == pytest.ExitCode.TESTS_FAILED
    file = project.path / "record.json"
    content = json.loads(file.read_text())
    del content["machine_info"]["cpu"]["flags"]  # three letters of one may be a host's name
    text = json.dumps(content)
    words = [socket.gethostname(), str(Path.home()) + "/", str(project.path), tempfile.gettempdir()]
    words += [f"pytest-of-{getpass.getuser()}"]
    for word in words:
        assert not re.search(rf"\b{re.escape(word)}", text), word
    assert json.loads(text)["benchmarks"][0]["name"] == "test_measures[core]"
    record = read_record(file)
    [case] = record.cases
    assert case.name == "test_measures[core]"
    assert case.params["folder"] == "core"
    assert case.invalid == ("bad file weights",)
    failed, skipped = record.evidence
    assert failed.state == "failed"
    assert failed.tests[0].test == "suites/core/test_broken.py::test_fails[core]"
    assert skipped.tests[0].reason == "no model in test_skips0"


def test_evidence_alone_makes_a_record(project: Project) -> None:
    project.add_test("core/test_core.py", "@pytest.mark.criterion('s0.one')\ndef test_it(): pass")
    done = project.run_process("--stage", "stage0")
    assert done.returncode == 0, done.stdout + done.stderr
    record = read_record(project.path / "record.json")
    assert record.cases == ()
    assert [evidence.state for evidence in record.evidence] == ["proved", "unproved"]
    [test] = record.evidence[0].tests
    assert (test.test, test.outcome) == ("suites/core/test_core.py::test_it", "passed")


WAITS = """
@pytest.mark.soak
@pytest.mark.criterion("s0.two")
@pytest.mark.parametrize("kv_layout", ["block", "slot"])
def test_long(kv_layout): pass
@pytest.mark.criterion("s0.one")
def test_short(): pass
"""


def test_a_stage_and_what_waits_to_be_asked_for_add_up(project: Project) -> None:
    project.add_test("core/test_core.py", WAITS)
    project.commit()
    plans = load_plans(project.path / "suites" / "stages.toml")
    records, states = [], []
    soak = ["-m", "soak", "--kv-layout"]
    for arguments in ([], [*soak, "block"], [*soak, "slot"]):
        done = project.run_process("--stage", "stage0", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        records.append(read_record(project.path / "record.json"))
        states.append([item.state for item in assemble(plans, records).stages[0].criteria])
    assert states == [["proved", "unproved"], ["proved", "unproved"], ["proved", "proved"]]


def test_skipped_benchmarks_leave_the_evidence(project: Project) -> None:
    project.add_test("core/test_bench.py", BENCHMARK)
    project.add_test("core/test_core.py", "@pytest.mark.criterion('s0.two')\ndef test_it(): pass")
    assert project.run_process("--stage", "stage0", "--benchmark-skip").returncode == 0
    states = [item.state for item in read_record(project.path / "record.json").evidence]
    assert states == ["unproved", "proved"]


def test_collecting_alone_writes_no_record(project: Project) -> None:
    project.add_test("core/test_core.py", "def test_it(): pass")
    project.run_process("--collect-only")
    file = project.path / "record.json"
    assert not file.exists() or file.read_bytes() == b""


class FakeBenchmark:
    """pytest-benchmark's fixture without its own measuring."""

    def __init__(self) -> None:
        self.extra_info: dict[str, object] = {}

    def pedantic(
        self, function: Callable[..., None], setup: Callable[..., Any], rounds: int
    ) -> None:
        for _ in range(rounds):
            arguments, options = setup()
            function(*arguments, **options)


class FakeBeside:
    """Measures nothing beside the rounds."""

    on_cpu: tuple[float, ...] = ()

    def before(self, prepare: Callable[[], object]) -> None:
        prepare()

    def after(self, on_cpu: float | None) -> None:
        pass

    def fields(self) -> dict[str, object]:
        return {}


def fake_item(root: Path, rounds: int, bench_seconds: float = 0.0) -> Any:
    file = root / "suites" / "core" / "test_fake.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    (root / "pyproject.toml").write_text("[tool.stagegate]")
    stash = pytest.Stash()
    stash[PROJECT] = load_project(root)
    settings: Any = SimpleNamespace(rounds=rounds, bench_seconds=bench_seconds, device="cpu")
    stash[SETTINGS] = settings
    stash[PARAMS] = {"prompts": 8, "num_threads": 1}
    stash[METRICS] = KINDS
    stash[CASES] = []
    config: Any = SimpleNamespace(stash=stash, rootpath=root)
    stash[TRACED_ROUNDS] = TracedRounds(config, stash[CASES])
    return SimpleNamespace(
        config=config,
        name="test_fake",
        path=file,
        getparent=lambda kind: None,
        get_closest_marker=lambda name: None,
    )


def test_recording_costs_less_than_a_hundredth_of_a_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a round of one millisecond, shorter than any that is measured here."""
    # What runs beside the rounds takes its time on purpose, between them.
    monkeypatch.setattr("stagegate_harness.measure.BesideRounds", FakeBeside)
    rounds = 2000
    metrics = {"tokens_per_sec": 1.0, "seconds": 2.0, "completion_tokens": 3, "avg_tpot_ms": None}
    costs = []
    for attempt in range(5):
        measure = Measure(FakeBenchmark(), fake_item(tmp_path / str(attempt), rounds))
        began = time.perf_counter()
        measure(lambda _: metrics)
        costs.append((time.perf_counter() - began) / rounds)
    assert min(costs) < 0.01 * 1e-3


def test_a_hot_gpu_makes_a_case_invalid(tmp_path: Path) -> None:
    item = fake_item(tmp_path, rounds=3)
    item.config.stash[TELEMETRY] = telemetry = FakeTelemetry()
    measure = Measure(FakeBenchmark(), item)

    def run(index: int) -> dict[str, float]:
        # Only the warm-up is foreign to the measurement.
        telemetry.add("hw-slowdown" if index == -1 else "sw-thermal-slowdown")
        return {"tokens_per_sec": 1.0}

    measure(run)
    [case] = item.config.stash[CASES]
    assert case.invalid == ("GPU 0: sw-thermal-slowdown in 3 of 4 samples",)


class FakeTelemetry:
    """A sample every second."""

    def __init__(self) -> None:
        self._samples: list[TelemetrySample] = []

    def add(self, *reasons: str) -> None:
        self._samples.append(
            TelemetrySample(
                seconds=len(self._samples),
                gpu=0,
                sm_clock_mhz=None,
                memory_clock_mhz=None,
                power_w=None,
                temperature_c=None,
                memory_used_bytes=None,
                throttle_reasons=reasons,
                other_processes=0,
            )
        )

    def sample(self) -> None:
        self.add()

    def seconds(self) -> float:
        return len(self._samples)

    def samples(self, since: float) -> list[TelemetrySample]:
        return [sample for sample in self._samples if sample.seconds >= since]


def test_a_benchmark_states_its_own_workload(tmp_path: Path) -> None:
    item = fake_item(tmp_path, rounds=3)
    own = Workload(rounds=1, prompts=1, input_len=32, output_len=129, seed=5, repeat_prompts=True)
    rates = Measure(FakeBenchmark(), item)(lambda _: {"tokens_per_sec": 1.0}, workload=own)
    assert len(rates["tokens_per_sec"]) == 3
    [case] = item.config.stash[CASES]
    assert case.params == {
        "prompts": 1,
        "input_len": 32,
        "output_len": 129,
        "seed": 5,
        "repeat_prompts": True,
        "num_threads": 1,
    }


@pytest.mark.parametrize(
    ("bench_seconds", "counts"), [(0.0, {3}), (0.2, range(4, 21)), (1.5, {MOST_ROUNDS})]
)
def test_short_rounds_go_on_until_their_time_is_up(
    tmp_path: Path, bench_seconds: float, counts: Container[int]
) -> None:
    """A first round that takes as long as all of them does not make them few."""
    called: list[tuple[str, int]] = []

    def run(index: int) -> dict[str, float]:
        time.sleep(0.01 if ("run", -1) in called else 0.9 * bench_seconds)
        called.append(("run", index))
        return {"tokens_per_sec": 1.0}

    measure = Measure(FakeBenchmark(), fake_item(tmp_path, 3, bench_seconds))
    samples = measure(run, prepare=lambda index: called.append(("prepare", index)))
    rounds = len(samples["tokens_per_sec"])
    assert rounds in counts
    # Each on prompts of its own, which no cache knows, and prepared.
    warm_ups = [-1] if bench_seconds == 0 else [-1, -1]
    assert called == [
        (what, index) for index in [*warm_ups, *range(rounds)] for what in ("prepare", "run")
    ]


WRONG = """
def test_wrong(measure):
    measure(lambda index: {"tokens_per_sec": 1.0})
    assert "two" == "tokens", "round 0 has wrong tokens"
def test_early(measure):
    raise RuntimeError("no engine")
"""


def test_a_benchmark_that_fails_is_recorded_as_invalid(project: Project) -> None:
    project.add_test("core/test_wrong.py", WRONG)
    assert project.run_process("--stage", "stage0").returncode == pytest.ExitCode.TESTS_FAILED
    wrong, early = read_record(project.path / "record.json").cases
    assert (wrong.name, len(wrong.metrics)) == ("test_wrong", 1)
    assert "wrong tokens" in wrong.invalid[0]
    assert (early.name, early.metrics) == ("test_early", ())
    assert "no engine" in early.invalid[0]
