"""What a selection leaves out of a stage counts as left out, whatever the selection is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stagegate_baselines.evidence import count
from stagegate_baselines.record_file import read_record
from stagegate_baselines.records import Record
from stagegate_baselines.states import CriterionState
from stagegate_harness.criteria import EvidenceCollector
from stagegate_harness.stage_run import StageRun
from stagegate_reports.assemble import assemble
from stagegate_reports.files import load_plans
from suites.harness.conftest import Project

FIRST = """
pytestmark = pytest.mark.criterion("s0.one")
def test_layout(kv_layout): pass
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_dtype(dtype): pass
@pytest.mark.parity
def test_parity(): pass
class TestClass:
    @pytest.mark.parametrize("text", ["a::b", "c"])
    def test_method(self, text): pass
"""
SECOND = """
@pytest.mark.criterion("s0.one")
def test_second(): pass
"""
# Tests behind s0.one, and of those in the first file.
ALL, FIRST_ALONE = 8, 7


@pytest.fixture
def parts(project: Project) -> Project:
    """Its s0.one is proved by two files."""
    project.add_test("core/test_first.py", FIRST)
    project.add_test("core/test_second.py", SECOND)
    return project


def line_of(result: pytest.RunResult, criterion: str = "s0.one") -> list[str]:
    """Its state, and the numbers of passed, failed, skipped and left out."""
    [line] = [line for line in result.outlines if line.startswith(criterion)]
    words = line.split()
    return [words[1], *(words[place] for place in (2, 4, 6, 8))]


def test_the_whole_proves(parts: Project) -> None:
    assert line_of(parts.run("--stage", "stage0")) == ["proved", str(ALL), "0", "0", "0"]


@pytest.mark.parametrize("place", ["suites", "suites/core", ".", "suites/../suites/core/"])
def test_paths_of_the_whole_prove(parts: Project, place: str) -> None:
    assert line_of(parts.run("--stage", "stage0", place))[0] == "proved"


SELECTIONS = {
    "a keyword": (["-k", "second"], 1, "left out by -k second"),
    "a keyword of all but one": (["-k", "not second"], FIRST_ALONE, "left out by -k not second"),
    "a marker": (["-m", "not parity"], ALL - 1, "left out by -m not parity"),
    "deselected": (
        ["--deselect", "suites/core/test_second.py::test_second"],
        FIRST_ALONE,
        "left out by --deselect suites/core/test_second.py::test_second",
    ),
    "a file": (["suites/core/test_second.py"], 1, "not in the paths of the command line"),
    "a test": (["suites/core/test_first.py::test_dtype"], 2, "not in the paths"),
    "a case": (["suites/core/test_first.py::test_dtype[f32]"], 1, "not in the paths"),
    "a class": (["suites/core/test_first.py::TestClass"], 2, "not in the paths"),
    "a case with colons": (
        ["suites/core/test_first.py::TestClass::test_method[a::b]"], 1, "not in the paths",
    ),
    "a file twice": (["suites/core/test_second.py"] * 2, 1, "not in the paths"),
    "an ignored file": (["--ignore", "suites/core/test_first.py"], 1, "left out by --ignore"),
    "an ignored pattern": (["--ignore-glob", "*/test_s*.py"], FIRST_ALONE, "left out by --ignore"),
    "a layout": (["--kv-layout", "slot"], ALL - 1, "left out by --kv-layout slot"),
    "a dtype": (["--dtype", "bf16"], ALL - 1, "left out by --dtype bf16"),
    "no parity": (["--run-parity", "never"], ALL - 1, "left out by --run-parity never"),
    "a sample": (["--cases-per-test", "1"], ALL - 3, "left out by --cases-per-test 1"),
    "no calls": (["--setup-only"], 0, "not run: the run ended before it"),
    "several": (["suites/core/test_first.py", "-k", "dtype", "--dtype", "f32"], 1, "1 left out by"),
}  # fmt: skip


@pytest.mark.parametrize("name", SELECTIONS)
def test_what_a_selection_leaves_out_is_left_out(parts: Project, name: str) -> None:
    arguments, passed, reason = SELECTIONS[name]
    result = parts.run("--stage", "stage0", *arguments)
    assert line_of(result) == ["unproved", str(passed), "0", "0", str(ALL - passed)]
    result.stdout.fnmatch_lines([f"*unproved: *{reason.replace('[', '[[]')}*"])


def test_the_table_says_which_part_is_missing(parts: Project) -> None:
    parts.run("--stage", "stage0", "-k", "second or bf16").stdout.fnmatch_lines(
        ["*missing: suites/core/test_first.py (6)"]
    )


PLUGIN = """
def pytest_collection_modifyitems(config, items):
    config.hook.pytest_deselected(items=items[1:])
    del items[1:]
"""


def test_what_another_plugin_drops_is_left_out(parts: Project) -> None:
    (parts.path / "suites" / "core" / "conftest.py").write_text(PLUGIN)
    result = parts.run("--stage", "stage0")
    assert line_of(result) == ["unproved", "1", "0", "0", str(ALL - 1)]
    result.stdout.fnmatch_lines(["*left out by another plugin"])


FAILS = "@pytest.mark.criterion('s0.two')\ndef test_fails(): assert False\n"


@pytest.mark.parametrize("option", ["-x", "--maxfail=1"])
def test_what_comes_after_the_last_failure_is_left_out(parts: Project, option: str) -> None:
    parts.add_test("core/test_middle.py", FAILS)
    result = parts.run("--stage", "stage0", option)
    assert line_of(result) == ["unproved", str(FIRST_ALONE), "0", "0", "1"]
    assert line_of(result, "s0.two")[0] == "failed"
    result.stdout.fnmatch_lines(["*unproved: not run: stopping after 1 failures"])


@pytest.mark.parametrize("option", ["--lf", "--sw"])
def test_what_an_earlier_run_selects_is_all_that_runs(parts: Project, option: str) -> None:
    parts.add_test("core/test_middle.py", FAILS)
    cache = ["-p", "cacheprovider"] + ["-p", "stepwise"] * (option == "--sw")
    for _ in range(2):  # the second of them knows of the first
        result = parts.run_process("--stage", "stage0", *cache, option)
    parts.add_test("core/test_middle.py", FAILS.replace("False", "True"))
    result = parts.run_process("--stage", "stage0", *cache, option, "--benchmark-disable")
    [line] = [line for line in result.stdout.splitlines() if line.startswith("s0.one")]
    assert "unproved" in line, result.stdout
    assert f"left out by {option}" in result.stdout


def test_a_file_that_cannot_be_read_is_left_out(parts: Project) -> None:
    parts.add_test("core/test_broken.py", "import no_such_module\n")
    result = parts.run("--stage", "stage0", "--continue-on-collection-errors")
    assert line_of(result) == ["unproved", str(ALL), "0", "0", "1"]
    result.stdout.fnmatch_lines(["*could not be collected: *no_such_module*"])
    result = parts.run("--stage", "stage0")
    assert line_of(result)[0] == "unproved"
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_a_broken_file_stops_no_run_of_another(parts: Project) -> None:
    parts.add_test("core/test_broken.py", "import no_such_module\n")
    result = parts.run("--stage", "stage0", "suites/core/test_second.py")
    assert result.ret == pytest.ExitCode.OK
    assert line_of(result) == ["unproved", "1", "0", "0", str(FIRST_ALONE + 1)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["suites/core/test_third.py"], "file or directory not found: suites/core/test_third.py"),
        (["suites/core/test_second.py::test_no"], "not found in the stage: *::test_no"),
        (["-o", "python_files=test_second.py"], "-o python_files=... changes which tests"),
        (["--pyargs", "suites.core"], "--pyargs is not known here"),
    ],
)
def test_a_selection_of_nothing_is_a_usage_error(
    parts: Project, arguments: list[str], message: str
) -> None:
    result = parts.run("--stage", "stage0", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{message}*"])


BENCHMARK = """
@pytest.mark.criterion("s0.one")
def test_measured(measure):
    measure(lambda index: {"seconds": 1.0})
"""


@pytest.mark.parametrize(
    ("option", "passed", "left_out"),
    [("--benchmark-skip", ALL, 1), ("--benchmark-disable", ALL, 1), ("--benchmark-only", 1, ALL)],
)
def test_benchmarks_are_part_of_the_whole(
    parts: Project, option: str, passed: int, left_out: int
) -> None:
    parts.add_test("core/test_bench.py", BENCHMARK)
    parts.run_process("--stage", "stage0", option)
    evidence = read_record(parts.path / "record.json").evidence[0]
    counts = dict.fromkeys(("passed", "left-out"), 0)
    for test in evidence.tests:
        counts[test.outcome] += test.cases
    assert (evidence.state, counts) == ("unproved", {"passed": passed, "left-out": left_out})


def test_benchmarks_by_path_prove_nothing(parts: Project) -> None:
    """They are quick, and do not look at the rest of the stage."""
    parts.add_test("core/test_bench.py", BENCHMARK)
    done = parts.run_process("--stage", "stage0", "--benchmark-only", "suites/core/test_bench.py")
    assert done.returncode == 0, done.stdout + done.stderr
    evidence = read_record(parts.path / "record.json").evidence[0]
    assert (evidence.state, evidence.whole) == ("unproved", False)


INTERRUPTED = """
import os, signal
pytestmark = pytest.mark.criterion("s0.one")
def test_a(): pass
def test_b(measure):
    measure(lambda index: {"seconds": 1.0})
def test_c(measure):
    def run(index):
        if index == WHEN:
            os.kill(os.getpid(), signal.SIGINT)
        return {"seconds": 1.0}
    measure(run)
def test_d(): pass
"""


@pytest.mark.parametrize("when", [-1, 0, 2])
def test_an_interrupted_run_leaves_a_record_that_says_so(project: Project, when: int) -> None:
    project.add_test("core/test_all.py", INTERRUPTED.replace("WHEN", str(when)))
    done = project.run_process("--stage", "stage0")
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    record = read_record(project.path / "record.json")
    assert record.interrupted == "interrupted"
    [evidence, _] = record.evidence
    assert evidence.state == "unproved"
    *ran, missing = evidence.tests
    assert [test.test.partition("::")[2] for test in ran] == ["test_a", "test_b"]
    assert (missing.outcome, missing.cases) == ("left-out", 2)
    assert missing.reason == "not run: interrupted"
    # What was measured before is whole.
    assert [case.name for case in record.cases] == ["test_b"]


def test_an_interrupted_collection_proves_nothing(parts: Project) -> None:
    (parts.path / "suites" / "core" / "test_zone.py").write_text("raise KeyboardInterrupt\n")
    done = parts.run_process("--stage", "stage0")
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    record = read_record(parts.path / "record.json")
    assert record.interrupted
    assert {item.state for item in record.evidence} == {"unproved"}
    assert not any(item.whole for item in record.evidence)


def test_a_run_that_went_to_its_end_says_nothing(parts: Project) -> None:
    parts.run_process("--stage", "stage0")
    record = read_record(parts.path / "record.json")
    assert record.interrupted is None
    assert record.device == "cpu"
    assert record.model_digest is not None


def states_of(project: Project, *runs: list[str]) -> list[CriterionState]:
    """Of s0.one, after each of the runs: what all records so far prove together."""
    plans = load_plans(project.path / "suites" / "stages.toml")
    records: list[Record] = []
    states: list[CriterionState] = []
    for arguments in runs:
        project.run_process("--stage", "stage0", *arguments)
        records.append(read_record(project.path / "record.json"))
        states.append(assemble(plans, records).stages[0].criteria[0].state)
    return states


FILES = [["suites/core/test_first.py"], ["suites/core/test_second.py"]]


@pytest.mark.parametrize(
    "runs",
    [
        FILES,
        [["-k", "second"], ["-k", "not second"]],
        [["--kv-layout", "block"], ["--kv-layout", "slot", "-k", "layout"]],
        [["--deselect", "suites/core/test_first.py"], ["-k", "not layout"], ["-k", "layout"]],
    ],
)
def test_runs_that_cover_the_whole_add_up(parts: Project, runs: list[list[str]]) -> None:
    parts.commit()
    assert states_of(parts, *runs) == ["unproved"] * (len(runs) - 1) + ["proved"]


def test_runs_that_do_not_cover_the_whole_do_not_add_up(parts: Project) -> None:
    parts.commit()
    assert states_of(parts, ["-k", "dtype"], FILES[1]) == ["unproved", "unproved"]


def test_runs_of_a_tree_with_changes_do_not_add_up(parts: Project) -> None:
    parts.commit()
    parts.add_test("core/test_third.py", SECOND)
    assert states_of(parts, ["-k", "second"], ["-k", "not second"]) == ["unproved"] * 2
    assert states_of(parts, []) == ["proved"]


def test_runs_of_different_checkpoints_do_not_add_up(parts: Project) -> None:
    parts.add_checkpoint("other")
    (parts.path / "other" / "config.json").write_text("{}")
    parts.commit()
    assert states_of(parts, FILES[0], [*FILES[1], "--model-path", "other"]) == ["unproved"] * 2


def worker_of(members: dict[str, dict[str, str | None]]) -> Any:
    return SimpleNamespace(workeroutput={"stagegate_members": members})


def test_workers_tell_what_they_left_out() -> None:
    """The process that starts workers of pytest-xdist collects nothing itself."""
    run: Any = SimpleNamespace(collector=EvidenceCollector())
    run.collector.add_report(
        SimpleNamespace(
            passed=True, failed=False, skipped=False, when="call", outcome="passed", duration=0.1,
            nodeid="a.py::test_a", user_properties=[("criterion", "s0.one")],
        )
    )  # fmt: skip
    # No worker has told.
    assert run.collector.evidence("s0.one", "").state is CriterionState.UNPROVED
    StageRun.pytest_testnodedown(run, worker_of({"s0.one": {"a.py::test_a": None}}))
    assert run.collector.evidence("s0.one", "").state is CriterionState.PROVED
    run.collector.is_whole = False
    members = {"s0.one": {"a.py::test_a": None, "a.py::test_b": "left out by -k a"}}
    StageRun.pytest_testnodedown(run, worker_of(members))
    assert count(run.collector.evidence("s0.one", "").tests, "left-out") == 1


@pytest.mark.parametrize(
    ("arguments", "state"), [([], "proved"), (["-k", "second"], "unproved"), (FILES[0], "unproved")]
)
def test_runs_in_parallel_know_what_they_leave_out(
    parts: Project, arguments: list[str], state: str
) -> None:
    pytest.importorskip("xdist")
    done = parts.run_process("--stage", "stage0", "-p", "xdist", "-n", "2", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_record(parts.path / "record.json").evidence[0].state == state


def test_a_stage_may_be_collected_from_a_folder_of_it(
    parts: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.add_test("core/below/test_below.py", SECOND)
    monkeypatch.chdir(parts.path / "suites" / "core" / "below")
    result = parts.run("--stage", "stage0", "--rootdir", str(parts.path))
    assert line_of(result) == ["unproved", "1", "0", "0", str(ALL)]
