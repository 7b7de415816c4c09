"""Tests about the checkpoint in the repository, where another one is under test."""

from __future__ import annotations

import pytest

from suites.harness.conftest import Project

TINY = "@pytest.mark.tiny_model\n@pytest.mark.criterion({!r})\ndef test_its_text(): pass\n"
ANY = "@pytest.mark.criterion({!r})\ndef test_any(): {}\n"
OTHER = "--model-path=other"


@pytest.fixture
def project(project: Project) -> Project:
    project.add_checkpoint("other")
    return project


def test_they_run_on_their_own_checkpoint(project: Project) -> None:
    project.add_test("core/test_cases.py", TINY.format("s0.one") + ANY.format("s0.one", "pass"))
    for arguments in ((), ("--model-path=suites/models/tiny-qwen2",)):
        result = project.run(*arguments)
        result.assert_outcomes(passed=2)
        result.stdout.no_fnmatch_line("*tiny model only*")


def test_the_summary_says_why_they_are_deselected(project: Project) -> None:
    project.add_test("core/test_cases.py", TINY.format("s0.one") + ANY.format("s0.one", "pass"))
    result = project.run(OTHER)
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["1 deselected: tiny model only"])


def test_what_applies_to_a_checkpoint_proves_the_criterion(project: Project) -> None:
    project.add_test("core/test_cases.py", TINY.format("s0.one") + ANY.format("s0.one", "pass"))
    project.run("--stage", "stage0", OTHER).stdout.fnmatch_lines(
        ["s0.one  proved *1 passed *0 failed *0 skipped *0 left out  one works"]
    )


def test_nothing_that_applies_proves_nothing(project: Project) -> None:
    project.add_test("core/test_cases.py", TINY.format("s0.one") + ANY.format("s0.two", "pass"))
    project.run("--stage", "stage0", OTHER).stdout.fnmatch_lines(
        [
            "s0.one  unproved *0 passed *0 failed *0 skipped *0 left out  one works",
            "s0.two  proved *1 passed *",
        ]
    )


def test_a_failure_on_another_checkpoint_is_one(project: Project) -> None:
    project.add_test(
        "core/test_cases.py", TINY.format("s0.one") + ANY.format("s0.one", "assert False")
    )
    project.run("--stage", "stage0", OTHER).stdout.fnmatch_lines(["s0.one  failed *1 failed *"])


def test_another_axis_still_leaves_out(project: Project) -> None:
    project.add_test(
        "core/test_cases.py",
        TINY.format("s0.one")
        + "@pytest.mark.criterion('s0.one')\ndef test_layouts(kv_layout): pass\n",
    )
    project.run("--stage", "stage0", OTHER, "--kv-layout", "slot").stdout.fnmatch_lines(
        ["s0.one  unproved *1 passed *1 left out*"]
    )
