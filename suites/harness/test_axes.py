"""Axis options deselect the cases of the other values and nothing else."""

import pytest

from suites.harness.conftest import Project

CASES = """
def test_layout(kv_layout): pass
def test_form(kv_layout, attention_backend): pass
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
        (["--kv-layout", "slot"], 1 + 1 + 2 + 1 + 1, 1 + 5 + 1),
        (["--kv-layout", "block", "--attention-backend", "native"], 1 + 1 + 2 + 1 + 1, 1 + 5 + 1),
        (["--attention-backend", "flashinfer"], 2 + 1 + 2 + 1 + 1, 5 + 1),
        (["--dtype", "f32"], 2 + 3 + 1 + 1 + 1, 3 + 1 + 1),
    ],
)
def test_other_values_are_deselected(
    project: Project, arguments: list[str], passed: int, deselected: int
) -> None:
    project.add_test("core/test_cases.py", CASES)
    project.run(*arguments).assert_outcomes(passed=passed, deselected=deselected)


def test_an_unknown_value_is_a_usage_error(project: Project) -> None:
    result = project.run("--kv-layout", "ring")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--kv-layout*'ring'*"])


def test_nothing_left_is_red(project: Project) -> None:
    project.add_test("core/test_cases.py", "def test_form(kv_layout, attention_backend): pass")
    result = project.run("--kv-layout", "slot", "--attention-backend", "native")
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
        "def test_many(number): pass\n"
        "def test_one(): pass",
    )
    project.run("--cases-per-test", "3").assert_outcomes(passed=4, deselected=7)


MATRIX = """
@pytest.mark.parametrize("values", [[], [0], [1, 2], [3]])
@pytest.mark.parametrize(("name", "length"), [(name, len(name)) for name in "a bb ccc d".split()])
@pytest.mark.parametrize("form", ["dense", "csr", "paged"])
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_matrix(dtype, form, name, length, values): print("case", dtype, form, name, values)
"""
SIZES = [3, 3, 4, 4]  # values of dtype, form, name and values


def cases_of(project: Project, most: int) -> list[list[str]]:
    result = project.run("--cases-per-test", str(most), "-s")
    found = [line.partition("case ")[2] for line in result.outlines if "case " in line]
    return [line.split(" ", 3) for line in found]


@pytest.mark.parametrize("most", [1, 2, 3, 4, 6, 12])
def test_a_sample_has_every_value_it_has_room_for(project: Project, most: int) -> None:
    """Whatever order the parameters have: one that varies slowly is seen as much as the others."""
    project.add_test("core/test_cases.py", MATRIX)
    cases = cases_of(project, most)
    assert len(cases) == most
    for values, size in zip(zip(*cases, strict=True), SIZES, strict=True):
        assert len(set(values)) == min(most, size)


def test_a_sample_has_the_pairs_it_has_room_for(project: Project) -> None:
    project.add_test("core/test_cases.py", MATRIX)
    assert len({(dtype, form) for dtype, form, *_ in cases_of(project, 9)}) == 9


def test_a_sample_uses_each_value_as_often_as_the_others(project: Project) -> None:
    project.add_test("core/test_cases.py", MATRIX)
    for values in list(zip(*cases_of(project, 6), strict=True))[:2]:
        assert [values.count(value) for value in set(values)] == [2, 2, 2]


def test_a_sample_is_the_same_in_every_run(project: Project) -> None:
    project.add_test("core/test_cases.py", MATRIX)
    assert cases_of(project, 5) == cases_of(project, 5)


def test_a_sample_leaves_out_nothing_when_there_are_few(project: Project) -> None:
    project.add_test("core/test_cases.py", MATRIX)
    assert len(cases_of(project, 1000)) == 3 * 3 * 4 * 4
