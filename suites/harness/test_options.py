"""Options reach the tests as fixtures; wrong ones are refused by name."""

import os

import pytest

from suites.harness.conftest import Project


def test_a_missing_model_folder_is_a_usage_error(project: Project) -> None:
    result = project.run("--model-path", "no/such/model")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--model-path: no folder no/such/model*"])


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
