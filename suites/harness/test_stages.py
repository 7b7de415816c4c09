"""A stage runs its suites and says which of its criteria they proved."""

from pathlib import Path

import pytest

from stagegate_baselines.project import load_project
from stagegate_harness.stages import load_stages
from suites.adapter import requirements
from suites.harness.conftest import PYPROJECT, STAGES, Project


def test_a_stage_runs_its_suites_alone(project: Project) -> None:
    project.add_test("core/test_core.py", "def test_core(): pass")
    project.add_test("ops/test_ops.py", "def test_ops(): pass\n")
    result = project.run("--stage", "stage1", "suites")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*ops/test_ops.py::test_ops PASSED*"])


def test_a_stage_runs_one_file_of_a_suite(project: Project) -> None:
    stages = project.path / "suites" / "stages.toml"
    stages.write_text(stages.read_text().replace('["ops"]', '["ops", "core/test_one.py"]'))
    for name in ("ops/test_ops.py", "core/test_one.py", "core/test_two.py"):
        project.add_test(name, "@pytest.mark.criterion('s1.one')\ndef test_it(): pass")
    project.run("--stage", "stage1").stdout.fnmatch_lines(["s1.one  proved *2 passed *"])


def test_a_stage_without_tests_is_red(project: Project) -> None:
    project.add_test("core/test_core.py", "def test_core(): pass")
    assert project.run("--stage", "stage1").ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_an_unknown_stage_is_a_usage_error(project: Project) -> None:
    result = project.run("--stage", "stage9")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unknown stage 'stage9'; known: stage0, stage1*"])


def test_an_unknown_criterion_is_a_usage_error(project: Project) -> None:
    project.add_test(
        "core/test_core.py", "@pytest.mark.criterion('s0.three')\ndef test_core(): pass"
    )
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_core: criterion 's0.three' is not in stages.toml*"])


def test_a_mark_where_its_stage_does_not_run_is_a_usage_error(project: Project) -> None:
    project.add_test("ops/test_ops.py", "@pytest.mark.criterion('s0.one')\ndef test_it(): pass")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_it: stage0 does not run it, so it cannot prove s0.one*"])


def test_proved_when_every_case_that_ran_passed(project: Project) -> None:
    project.add_test(
        "core/test_core.py",
        "@pytest.mark.criterion('s0.one', 's0.two')\ndef test_core(kv_layout): pass",
    )
    project.run("--stage", "stage0").stdout.fnmatch_lines(
        [
            "s0.one  proved *2 passed *0 failed *0 skipped *0 left out  one works",
            "s0.two  proved *2 passed *0 failed *0 skipped *0 left out  two works",
            "stage0 passed: 2 of 2 criteria proved",
        ]
    )


def test_one_layout_is_not_the_whole_proof(project: Project) -> None:
    project.add_test(
        "core/test_core.py", "@pytest.mark.criterion('s0.one')\ndef test_core(kv_layout): pass"
    )
    project.run("--stage", "stage0", "--kv-layout", "block").stdout.fnmatch_lines(
        ["s0.one  unproved *1 passed *0 failed *0 skipped *1 left out  one works"]
    )


def test_a_suite_proves_as_a_whole(project: Project) -> None:
    stages = project.path / "suites" / "stages.toml"
    stages.write_text(stages.read_text() + '[stage1.proved_by_suites]\n"s1.one" = ["ops"]\n')
    project.add_test("ops/test_ops.py", "def test_passes(): pass")
    project.run("--stage", "stage1").stdout.fnmatch_lines(["s1.one  proved *1 passed *"])
    project.add_test("ops/test_more.py", "def test_fails(): assert False")
    project.run("--stage", "stage1").stdout.fnmatch_lines(["s1.one  failed *1 passed *1 failed *"])


def write_stages(root: Path, text: str) -> None:
    for name in ("core", "ops"):
        (root / "suites" / name).mkdir(parents=True)
    (root / "suites" / "stages.toml").write_text(text)
    (root / "pyproject.toml").write_text(PYPROJECT)


def test_a_suite_cannot_prove_another_stage(tmp_path: Path) -> None:
    write_stages(tmp_path, STAGES + '[stage1.proved_by_suites]\n"s0.one" = ["ops"]\n')
    with pytest.raises(pytest.UsageError, match=r"stage1 has no criterion s0\.one"):
        load_stages(load_project(tmp_path))


@pytest.mark.parametrize("broken", ["setup", "call", "teardown"])
def test_one_failure_anywhere_fails_the_criterion(project: Project, broken: str) -> None:
    project.add_test(
        "core/test_core.py",
        "@pytest.fixture\n"
        "def resource():\n"
        f"    assert {broken != 'setup'}\n"
        "    yield\n"
        f"    assert {broken != 'teardown'}\n"
        "pytestmark = pytest.mark.criterion('s0.one')\n"
        f"def test_resource(resource): assert {broken != 'call'}\n"
        "def test_good(): pass\n",
    )
    result = project.run("--stage", "stage0")
    result.stdout.fnmatch_lines(
        [
            "s0.one  failed *1 passed *1 failed *0 skipped*",
            "s0.two  unproved *0 passed *0 failed*",
            "stage0 failed: 0 of 2 criteria proved",
        ]
    )


def test_skipped_cases_prove_nothing(project: Project) -> None:
    project.add_test(
        "core/test_core.py",
        "@pytest.mark.criterion('s0.one')\n@pytest.mark.skip\ndef test_skipped(): pass\n"
        "@pytest.mark.criterion('s0.two')\ndef test_passes(): pass\n",
    )
    project.run("--stage", "stage0").stdout.fnmatch_lines(
        ["s0.one  unproved *0 passed *0 failed *1 skipped*", "stage0 open: 1 of 2 *"]
    )


@pytest.fixture
def gpu_project(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Its stage1 is about a GPU, which the machine it runs on has not."""
    monkeypatch.setattr(requirements, "missing_gpu", lambda: "no GPU in this test")
    stages = project.path / "suites" / "stages.toml"
    stages.write_text(stages.read_text().replace('"Second"\n', '"Second"\ndevice = "nvidia"\n'))
    return project


GPU_EVIDENCE = "@pytest.mark.criterion('s1.one')\ndef test_device(device): pass\n"


def test_what_could_not_run_says_why(gpu_project: Project) -> None:
    gpu_project.add_test("ops/test_ops.py", GPU_EVIDENCE)
    gpu_project.run("--stage", "stage1").stdout.fnmatch_lines(
        [
            "s1.one  unproved *0 passed *0 failed *1 skipped *",
            "        unproved: no GPU in this test",
            "stage1 open: 0 of 1 criteria proved",
        ]
    )


def test_a_criterion_without_a_test_says_so(project: Project) -> None:
    project.add_test("core/test_core.py", "@pytest.mark.criterion('s0.one')\ndef test_one(): pass")
    project.run("--stage", "stage0").stdout.fnmatch_lines(
        ["s0.two  unproved *", "        unproved: no test of this stage is about it"]
    )


def test_a_gpu_stage_counts_only_what_runs_on_a_gpu(gpu_project: Project) -> None:
    gpu_project.add_test(
        "ops/test_ops.py",
        GPU_EVIDENCE + "@pytest.mark.criterion('s1.one')\ndef test_arithmetic(): pass\n",
    )
    result = gpu_project.run("--stage", "stage1")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["s1.one  unproved *0 passed *0 failed *1 skipped *"])


def test_a_gpu_stage_on_the_cpu_is_a_usage_error(gpu_project: Project) -> None:
    result = gpu_project.run("--stage", "stage1", "--device", "cpu")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--device cpu: stage1 is about nvidia; leave the option out*"])


def test_a_criterion_has_one_stage(tmp_path: Path) -> None:
    write_stages(tmp_path, STAGES.replace("s1.one", "s0.one"))
    with pytest.raises(pytest.UsageError, match=r"s0\.one is in stage0 and in stage1"):
        load_stages(load_project(tmp_path))


def test_the_stages_of_this_project_are_named_after_their_criteria(
    pytestconfig: pytest.Config,
) -> None:
    stages = load_stages(load_project(pytestconfig.rootpath))
    assert list(stages) == [f"stage{number}" for number in range(8)]
    for stage in stages.values():
        assert stage.suites
        assert stage.criteria
        assert all(name.startswith(f"s{stage.name[-1]}.") for name in stage.criteria)


OPT_IN = """
@pytest.mark.soak
@pytest.mark.criterion('s0.two')
def test_long(): pass
@pytest.mark.criterion('s0.one')
def test_short(): pass
"""


def test_what_waits_to_be_asked_for_is_unproved_and_names_its_command(project: Project) -> None:
    project.add_test("core/test_core.py", OPT_IN)
    project.run("--stage", "stage0").stdout.fnmatch_lines(
        [
            "s0.one  proved *",
            "s0.two  unproved *0 passed *0 failed *0 skipped *1 left out *",
            "        unproved: nox -s soak*",
        ]
    )
    project.run("--stage", "stage0", "-m", "soak").stdout.fnmatch_lines(
        ["s0.one  unproved *1 left out *", "*left out by -m soak", "s0.two  proved *1 passed *"]
    )


def test_a_soak_that_is_cut_short_proves_nothing(project: Project) -> None:
    project.add_test("core/test_core.py", OPT_IN.replace("test_long()", "test_long(soak_seconds)"))
    result = project.run("--stage", "stage0", "-m", "soak", "--soak-seconds", "479")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["s0.two  unproved *1 left out *", "*by --soak-seconds 479"])


def test_what_is_asked_for_does_not_stand_for_its_suite(project: Project) -> None:
    stages = project.path / "suites" / "stages.toml"
    stages.write_text(stages.read_text() + '[stage0.proved_by_suites]\n"s0.one" = ["core"]\n')
    project.add_test("core/test_core.py", OPT_IN)
    project.run("--stage", "stage0", "-m", "soak").stdout.fnmatch_lines(
        ["s0.one  unproved *0 passed *", "s0.two  proved *1 passed *"]
    )
