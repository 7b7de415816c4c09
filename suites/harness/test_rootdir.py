"""pytest finds the checkout it is started in, whatever paths its options have as values."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

from stagegate_baselines.project_root import find_root
from suites.harness.conftest import PYPROJECT, PYTHONPATH, Project

ROOT = Path(__file__).parents[2]
CONFIGURATION = f"""{PYPROJECT}
[tool.pytest.ini_options]
addopts = "-p stagegate_harness.plugin"
testpaths = ["suites"]
"""


@pytest.fixture
def checkout(project: Project) -> Project:
    """A project that only its own configuration makes known to pytest."""
    (project.path / "pyproject.toml").write_text(CONFIGURATION)
    project.add_test(
        "core/test_cases.py",
        "def test_model(model_path): print('model', model_path)\n",
    )
    return project


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the checkout, with a space and a configuration that is another's."""
    folder = tmp_path_factory.mktemp("not the checkout")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    return folder


Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(checkout: Project, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs pytest in the checkout, as the entry point of an installed package would."""

    def run(*arguments: str) -> pytest.RunResult:
        try:
            ret: Any = pytester.inline_run(
                "-p", "stagegate_harness.rootdir", "-v", "-s", *arguments
            ).ret
        except SystemExit as ended:
            ret = ended.code
        out, err = capsys.readouterr()
        return pytest.RunResult(ret, out.splitlines(), err.splitlines(), 0.0)

    return run


@pytest.mark.parametrize("form", ["separate", "with an equals sign"])
@pytest.mark.parametrize("place", ["absolute", "relative", "inside the checkout"])
@pytest.mark.parametrize("stage", [(), ("--stage", "stage0")], ids=["all", "stage0"])
def test_a_checkpoint_may_lie_anywhere(
    run: Run, checkout: Project, elsewhere: Path, stage: tuple[str, ...], place: str, form: str
) -> None:
    folder = (checkout.path if place == "inside the checkout" else elsewhere) / "some models" / "m"
    checkout.add_checkpoint(folder)
    stated = str(folder) if place == "absolute" else os.path.relpath(folder, checkout.path)
    option = [f"--model-path={stated}"] if form != "separate" else ["--model-path", stated]
    result = run(*stage, *option)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"*model {folder}"])


def test_paths_of_tests_stand_beside_paths_of_options(
    run: Run, checkout: Project, elsewhere: Path
) -> None:
    checkout.add_checkpoint(elsewhere / "m")
    checkout.add_test("core/test_others.py", "def test_other(): pass")
    model = ["--model-path", str(elsewhere / "m")]
    for arguments in (["suites/core/test_cases.py", *model], [*model, "suites/core/test_cases.py"]):
        run(*arguments).assert_outcomes(passed=1)
    run(*model).assert_outcomes(passed=2)


@pytest.mark.parametrize("option", ["--junitxml", "--basetemp"])
def test_files_to_be_written_may_lie_anywhere(run: Run, elsewhere: Path, option: str) -> None:
    run(option, str(elsewhere / "a file")).assert_outcomes(passed=1)


def test_a_record_may_be_written_again_and_anywhere(checkout: Project, elsewhere: Path) -> None:
    for _ in range(2):
        done = subprocess.run(
            [
                sys.executable, "-m", "pytest", "-p", "pytest_benchmark.plugin",
                "-p", "stagegate_harness.rootdir", "--benchmark-json", str(elsewhere / "a record"),
            ],
            cwd=checkout.path, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
        )  # fmt: skip
        assert "1 passed" in done.stdout, done.stdout + done.stderr
        assert json.loads((elsewhere / "a record").read_text())["stagegate"]["cases"] == []


def test_a_folder_that_is_missing_is_named(run: Run, checkout: Project, elsewhere: Path) -> None:
    result = run("--model-path", str(elsewhere / "no model"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--model-path: no folder {elsewhere / 'no model'}"])


def test_an_option_that_does_not_exist_is_refused(
    run: Run, checkout: Project, elsewhere: Path
) -> None:
    result = run("--modelpath", str(elsewhere))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unrecognized arguments: --modelpath*"])


def test_tests_of_another_project_are_left_to_it(
    run: Run, checkout: Project, elsewhere: Path
) -> None:
    (elsewhere / "test_other.py").write_text(
        "def test_root(pytestconfig): assert pytestconfig.rootpath.name.startswith('not the')"
    )
    run(str(elsewhere)).assert_outcomes(passed=1)


def test_a_root_that_is_stated_stays(run: Run, checkout: Project, elsewhere: Path) -> None:
    (elsewhere / "test_root.py").write_text(
        "def test_root(pytestconfig): assert pytestconfig.rootpath.name.startswith('not the')"
    )
    result = run("--rootdir", str(elsewhere), "-c", str(elsewhere / "pytest.ini"),
                 str(elsewhere))  # fmt: skip
    result.assert_outcomes(passed=1)


def test_a_folder_below_the_checkout_will_do(
    run: Run, checkout: Project, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.add_checkpoint(elsewhere / "m")
    monkeypatch.chdir(checkout.path / "suites")
    assert find_root(Path.cwd()) == checkout.path
    run("--model-path", str(elsewhere / "m"), "core").assert_outcomes(passed=1)


def test_options_outside_a_checkout_say_where_it_is(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    arguments = ["-p", "stagegate_harness.rootdir", "--stage", "stage0", "--bench-rounds=2"]
    result = pytester.runpytest_inprocess(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--bench-rounds, --stage: pytest knows * in a project*; run it there"]
    )


def test_a_checkout_has_the_entry_point_of_the_package() -> None:
    declared = tomllib.loads((ROOT / "suites" / "harness" / "pyproject.toml").read_text())[
        "project"
    ]["entry-points"]
    parser = ConfigParser()
    parser.read(ROOT / ".stagegate-checkout.dist-info" / "entry_points.txt")
    assert {name: dict(parser[name]) for name in parser.sections()} == declared


def test_the_checkout_needs_no_installation(tmp_path: Path) -> None:
    """As the README has it, in a process of its own."""
    missing = tmp_path / "no checkpoint"
    missing.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--stage", "stage0", "--model-path", str(missing)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"{missing} is no checkpoint, it lacks config.json, tokenizer.json" in done.stderr
