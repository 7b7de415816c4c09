"""Options reach the tests as fixtures; wrong ones are refused by name."""

import os

import pytest

from suites.harness.conftest import Project


def test_a_missing_model_folder_is_a_usage_error(project: Project) -> None:
    result = project.run("--model-path", "no/such/model")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--model-path: no folder *no/such/model*"])


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_that_is_no_checkpoint_is_refused(project: Project, missing: str) -> None:
    project.add_checkpoint("other")
    (project.path / "other" / missing).unlink()
    result = project.run("--model-path", "other")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lacking = missing.replace("model.", "*.")
    result.stderr.fnmatch_lines([f"*--model-path: *other is no checkpoint, it lacks {lacking}"])


def test_the_home_folder_is_known_behind_an_equals_sign(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add_checkpoint("home/models/m")
    monkeypatch.setenv("HOME", str(project.path / "home"))
    project.add_test("core/test_cases.py", "def test_model(model_path): assert model_path.is_dir()")
    project.run("--model-path=~/models/m").assert_outcomes(passed=1)


@pytest.mark.parametrize("wrong", [["--stage", "stage9"], ["--model-path", "nowhere"]])
def test_wrong_options_leave_no_empty_record(project: Project, wrong: list[str]) -> None:
    assert project.run_process(*wrong).returncode == pytest.ExitCode.USAGE_ERROR
    assert not (project.path / "record.json").exists()


def test_the_tiny_model_is_the_default(project: Project) -> None:
    project.add_test(
        "core/test_cases.py", "def test_model(model_path): assert model_path.name == 'tiny-qwen2'"
    )
    project.run().assert_outcomes(passed=1)


def test_every_allowed_processor_is_the_default(project: Project) -> None:
    allowed = len(os.sched_getaffinity(0))
    project.add_test(
        "core/test_cases.py", f"def test_threads(num_threads): assert num_threads == {allowed}"
    )
    project.run().assert_outcomes(passed=1)


def test_the_workload_is_what_was_asked_for(project: Project) -> None:
    project.add_test(
        "core/test_cases.py",
        "def test_workload(workload, num_threads):\n"
        "    assert (workload.rounds, workload.prompts, workload.seed) == (5, 8, 7)\n"
        "    assert (workload.input_len, workload.output_len, num_threads) == (32, 64, 3)\n",
    )
    arguments = ["--bench-rounds", "5", "--bench-seed", "7", "--bench-input-len", "32"]
    project.run(*arguments, "--num-threads", "3").assert_outcomes(passed=1)


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_sizes_are_positive(project: Project, value: str) -> None:
    result = project.run(f"--bench-prompts={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--bench-prompts: '{value}' is not a positive whole number*"])


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "fast"])
def test_a_rate_is_positive(project: Project, value: str) -> None:
    result = project.run(f"--bench-rate={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--bench-rate: '{value}' is not a positive number a second*"])
