"""Launches of real trees: resumed from their files, refused with what went wrong."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from stagegate_baselines.gate.escalation import Gate, Side
from stagegate_baselines.gate.launches import (
    LaunchError,
    PytestSource,
    build,
    run_in,
    state_of,
)
from stagegate_baselines.project import load_project
from stagegate_harness.__main__ import main
from suites.baselines.sample_record import sample_record


def source(tmp_path: Path, tree: Path) -> PytestSource:
    return PytestSource(
        {Side.BASE: tree, Side.NEW: tree}, stage="stage0", arguments=[], folder=tmp_path / "out"
    )


def test_a_stopped_gate_goes_on_from_its_files(tmp_path: Path) -> None:
    launches = source(tmp_path, tmp_path / "not a tree")
    for side in Side:
        for number in range(5):
            record = sample_record(rate=100.0 + number)
            content = {"stagegate": record.model_dump(mode="json")}
            (tmp_path / "out" / f"{side}-{number:02}.json").write_text(json.dumps(content))
    assert Gate(launches).run().launches == 5


def test_a_suite_that_does_not_run_is_named(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    with pytest.raises(LaunchError, match=r"(?s)pytest -q \.\.\. in .*tree ended with 4:.*--stage"):
        source(tmp_path, tree).launch(Side.NEW, 0)
    assert not list((tmp_path / "out").glob("*.json"))


def test_a_file_without_a_record_is_named(tmp_path: Path) -> None:
    launches = source(tmp_path, tmp_path)
    (tmp_path / "out" / "base-00.json").write_text("{}")
    with pytest.raises(LaunchError, match=r"base-00\.json: holds no record"):
        launches.launch(Side.BASE, 0)


def test_a_launch_finds_packages_that_the_caller_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
    for folder in (tree, elsewhere):
        folder.mkdir()
        (folder / "in_both.py").write_text(f"print({folder.name!r})")
    (elsewhere / "installed_there.py").write_text("import in_both")
    monkeypatch.setenv("PYTHONPATH", str(elsewhere))
    assert run_in(tree, [sys.executable, "-m", "installed_there"]) == "tree\n"


def test_the_state_of_a_tree_is_its_commit_and_what_changed_since(repository: Path) -> None:
    before = state_of(repository)
    (repository / "file").write_text("three")
    changed = state_of(repository)
    (repository / "new").write_text("four")
    assert len({before, changed, state_of(repository)}) == 3


def test_the_command_refuses_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gate", "stage0", "--against", "no-such-revision"]) == 1
    assert capsys.readouterr().err.startswith("error: git rev-parse")


def test_launches_see_the_paths_of_the_caller(
    monkeypatch: pytest.MonkeyPatch, repository: Path, tmp_path: Path
) -> None:
    commands = []

    def start(command: list[str], folder: Path, variables: object) -> None:
        commands.append(command)
        raise LaunchError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stagegate_baselines.measure_command.build", lambda *arguments: None)
    monkeypatch.setattr("stagegate_baselines.gate.launches._start", start)
    assert (
        main(
            [
                "measure",
                "stage0",
                "--root",
                str(repository),
                "--",
                "--model-path",
                "a model",
                "-k",
                "x",
            ]
        )
        == 1
    )
    [command] = commands
    assert command[-3:] == [f"--model-path={tmp_path / 'a model'}", "-k", "x"]
    assert command[command.index("-p") + 1] == "no:stagegate"


def test_a_tree_without_the_stage_is_not_built(repository: Path) -> None:
    project = load_project(repository)
    with pytest.raises(LaunchError, match=r"unknown stage 'stage9' in .*; known: stage0"):
        build(project, repository, "stage9", [])
    with pytest.raises(
        LaunchError, match=r"stages\.toml: no stages can be read from it: .*No such"
    ):
        build(project, repository / "suites", "stage0", [])


def test_a_tree_is_built_by_the_commands_of_the_project(repository: Path, tmp_path: Path) -> None:
    commands = ["python -c pass", "sh -c 'echo {root} {stage} {device} ${HOME} > it'"]
    (repository / "pyproject.toml").write_text(f"[tool.stagegate]\nbuild = {json.dumps(commands)}")
    tree = tmp_path / "tree"
    shutil.copytree(repository, tree)
    build(load_project(repository), tree, "stage0", ["--device", "tpu"])
    assert (tree / "it").read_text() == f"{repository} stage0 tpu {Path.home()}\n"


def test_a_build_that_fails_is_named(repository: Path) -> None:
    (repository / "pyproject.toml").write_text(
        "[tool.stagegate]\nbuild = \"sh -c 'echo no compiler; exit 3'\"\n"
    )
    with pytest.raises(LaunchError, match=r"(?s)ended with 3:\nno compiler"):
        build(load_project(repository), repository, "stage0", [])
