"""Axis options deselect the cases of the other values and nothing else."""

import pytest

from suites.harness.conftest import Project

CASES = """
def test_layout(layout): pass
def test_form(layout, backend): pass
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_dtype(dtype): pass
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_device(device): pass
def test_plain(): pass
"""


@pytest.mark.parametrize(
    ("arguments", "passed", "deselected"),
    [
        # block x {native, csr} and slot x csr; the cuda case and flashinfer are off by default.
        ([], 2 + 3 + 2 + 1 + 1, 3 + 1),
        (["--layout", "slot"], 1 + 1 + 2 + 1 + 1, 1 + 5 + 1),
        (["--layout", "block", "--backend", "native"], 1 + 1 + 2 + 1 + 1, 1 + 5 + 1),
        (["--backend", "flashinfer"], 2 + 1 + 2 + 1 + 1, 5 + 1),
        (["--dtype", "f32"], 2 + 3 + 1 + 1 + 1, 3 + 1 + 1),
    ],
)
def test_other_values_are_deselected(
    project: Project, arguments: list[str], passed: int, deselected: int
) -> None:
    project.add_test("core/test_cases.py", CASES)
    project.run(*arguments).assert_outcomes(passed=passed, deselected=deselected)


def test_an_unknown_value_is_a_usage_error(project: Project) -> None:
    result = project.run("--layout", "ring")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--layout*'ring'*"])


def test_nothing_left_is_red(project: Project) -> None:
    project.add_test("core/test_cases.py", "def test_form(layout, backend): pass")
    result = project.run("--layout", "slot", "--backend", "native")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize("marker", ["soak", "large"])
def test_what_takes_long_runs_when_its_marker_is_named(project: Project, marker: str) -> None:
    project.add_test(
        "core/test_cases.py",
        f"@pytest.mark.{marker}\ndef test_long(): pass\ndef test_short(): pass",
    )
    project.run().assert_outcomes(passed=1, deselected=1)
    project.run("-m", marker).assert_outcomes(passed=1, deselected=1)
    project.run("-m", f"{marker} or not {marker}").assert_outcomes(passed=2)


def test_a_sample_has_cases_of_every_test(project: Project) -> None:
    project.add_test(
        "core/test_cases.py",
        "@pytest.mark.parametrize('number', range(10))\n"
        "def test_many(number): print('number', number)\n"
        "def test_one(): pass",
    )
    result = project.run("--cases-per-test", "3", "-s")
    result.assert_outcomes(passed=4, deselected=7)
    result.stdout.fnmatch_lines(["*number 0", "*number 3", "*number 6"])
