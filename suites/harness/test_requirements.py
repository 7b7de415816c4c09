"""What is missing skips with its reason, and fails where it was required."""

import pytest

from suites.adapter import requirements
from suites.harness.conftest import Project

GPU_TEST = "@pytest.mark.requires_gpu\ndef test_gpu(): pass\n"
PLAIN_TEST = "def test_plain(): pass\n"


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has, the runs below see no GPU, no CUPTI and no Hugging Face."""
    monkeypatch.setattr(requirements, "missing_gpu", lambda: "no GPU in this test")
    monkeypatch.setattr(requirements, "missing_cupti", lambda: "no CUPTI in this test")
    monkeypatch.setattr(requirements, "missing_flashinfer", lambda: "no FlashInfer in this test")
    monkeypatch.setattr(requirements, "missing_hf", lambda: "no torch in this test")


def test_a_missing_gpu_skips_with_the_reason(project: Project) -> None:
    project.add_test("core/test_cases.py", GPU_TEST + PLAIN_TEST)
    result = project.run()
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*no GPU in this test"])
    assert result.ret == pytest.ExitCode.OK


def test_require_turns_the_skip_into_a_failure(project: Project) -> None:
    project.add_test("core/test_cases.py", GPU_TEST + PLAIN_TEST)
    result = project.run("--require", "gpu,hf")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*required gpu is missing: no GPU in this test"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_trace_wants_a_gpu_before_cupti(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add_test(
        "core/test_cases.py", "@pytest.mark.requires_cupti\ndef test_trace(): pass\n" + PLAIN_TEST
    )
    result = project.run()
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*no GPU in this test"])
    monkeypatch.setattr(requirements, "missing_gpu", lambda: None)
    result = project.run("--require", "cupti")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*required cupti is missing: no CUPTI in this test"])


def test_flashinfer_runs_when_asked_for_and_where_it_is(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.add_test(
        "core/test_cases.py",
        "@pytest.mark.requires_flashinfer\ndef test_it(): pass\n"
        "def test_native(attention_backend): pass\n"
        "def test_attention(attention): print('attention', attention)\n" + PLAIN_TEST,
    )
    project.run("--attention-backend", "native").assert_outcomes(passed=3, deselected=3)
    monkeypatch.setattr(requirements, "missing_gpu", lambda: None)
    asked = ("--attention-backend", "flashinfer", "-s")
    result = project.run(*asked)
    result.assert_outcomes(passed=3, skipped=1, deselected=2)
    result.stdout.fnmatch_lines(["*attention native*", "SKIPPED*no FlashInfer in this test"])
    project.run(*asked, "--device", "nvidia").assert_outcomes(passed=2, skipped=2, deselected=2)
    monkeypatch.setattr(requirements, "missing_flashinfer", lambda: None)
    result = project.run(*asked, "--device", "nvidia")
    result.assert_outcomes(passed=4, deselected=2)
    result.stdout.fnmatch_lines(["*attention flashinfer*"])


def test_a_run_that_only_skips_is_red(project: Project) -> None:
    project.add_test("core/test_cases.py", GPU_TEST)
    result = project.run()
    result.assert_outcomes(skipped=1)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_collecting_alone_is_no_failure(project: Project) -> None:
    project.add_test("core/test_cases.py", PLAIN_TEST)
    assert project.run("--collect-only").ret == pytest.ExitCode.OK


def test_the_device_under_test_is_a_requirement(project: Project) -> None:
    project.add_test("core/test_cases.py", "def test_name(device): assert device == 'cpu'")
    project.run().assert_outcomes(passed=1)
    project.run("--device", "nvidia").assert_outcomes(skipped=1)


CHOICES = [("auto", "skipped"), ("always", "errors"), ("never", "deselected")]


@pytest.mark.parametrize(("choice", "outcome"), CHOICES)
def test_hugging_face_runs_as_told(project: Project, choice: str, outcome: str) -> None:
    project.add_test("core/test_cases.py", "@pytest.mark.requires_hf\ndef test_hf(): pass")
    project.run("--run-hf", choice).assert_outcomes(**{outcome: 1})


@pytest.mark.parametrize(("choice", "outcome"), CHOICES)
def test_parity_runs_as_told(project: Project, choice: str, outcome: str) -> None:
    project.add_test(
        "core/test_cases.py",
        "@pytest.mark.parity\n@pytest.mark.requires_hf\ndef test_live(): pass\n"
        "@pytest.mark.requires_hf\ndef test_other(): pass",
    )
    outcomes = {"skipped": 1} | {outcome: 1 + (outcome == "skipped")}
    project.run("--run-parity", choice).assert_outcomes(**outcomes)


def test_an_unknown_requirement_is_a_usage_error(project: Project) -> None:
    result = project.run("--require", "gpu,tpu")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unknown requirement 'tpu'; known: gpu, cupti, flashinfer, hf*"])
