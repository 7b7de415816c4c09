"""Real launches: a source tree on each side, a fresh pytest process each time."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from stagegate_baselines import launch_variables
from stagegate_baselines.gate.escalation import Side
from stagegate_baselines.project import Project, command_line
from stagegate_baselines.record_file import read_record
from stagegate_baselines.records import Record
from stagegate_baselines.store import StoreError

_PYTEST_FAILED_TESTS = 1


class LaunchError(Exception):
    """A tree could not be built or a suite did not run; the message ends with what it printed."""


class PytestSource:
    """Runs the benchmarks of a stage in the tree of a side.

    Files of launches stay in `folder`; a gate that was stopped reads them instead of launching
    again, so the folder must belong to these two trees in this state.
    plant: slowdowns of the new side, in the words of stagegate_harness/planted.py.
    """

    def __init__(
        self,
        trees: Mapping[Side, Path],
        *,
        stage: str,
        arguments: Sequence[str],
        folder: Path,
        plant: str = "",
    ) -> None:
        self._trees = trees
        self._stage = stage
        self._arguments = arguments
        self._folder = folder
        self._plants = {Side.BASE: "", Side.NEW: plant}
        folder.mkdir(parents=True, exist_ok=True)

    def launch(self, side: Side, number: int) -> Record:
        file = self._folder / f"{side}-{number:02}.json"
        if not file.exists():
            self._run(side, number, file)
        try:
            return read_record(file)
        except StoreError as error:
            raise LaunchError(str(error)) from error

    def _run(self, side: Side, number: int, file: Path) -> None:
        unfinished = file.with_suffix(".part")
        unfinished.unlink(missing_ok=True)
        command = [
            sys.executable, "-m", "pytest", "-q", "--stage", self._stage,
            "--benchmark-only", f"--benchmark-json={unfinished}",
            # The entry point of the caller's environment, which an older tree does not have.
            "-p", "no:stagegate", *self._arguments,
        ]  # fmt: skip
        # The same order on both sides of a pair.
        variables = {
            launch_variables.CASE_ORDER: str(number),
            launch_variables.KERNEL_TRACE: "never",
        }
        if self._plants[side]:
            variables[launch_variables.PLANT] = self._plants[side]
        done = _start(command, self._trees[side], variables)
        # Benchmarks that failed are in the record, as invalid; anything else is no launch.
        written = unfinished.exists() and unfinished.stat().st_size > 0
        if done.returncode not in (0, _PYTEST_FAILED_TESTS) or not written:
            raise _failure(command, self._trees[side], done)
        unfinished.replace(file)


def build(project: Project, tree: Path, stage: str, pytest_arguments: Sequence[str]) -> None:
    """Build a tree as `project` says; its commands run in the tree, whatever revision that is of.

    Raises LaunchError for a command that fails, and for a stage that the tree does not have.
    """
    file = project.at(tree).stages
    try:
        stages = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{file}: no stages can be read from it: {error}"
        raise LaunchError(msg) from error
    if stage not in stages:
        msg = f"unknown stage {stage!r} in {tree}; known: {', '.join(stages)}"
        raise LaunchError(msg)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--device")
    device = parser.parse_known_args(pytest_arguments)[0].device
    device = device or stages[stage].get("device") or next(iter(project.devices))
    for command in project.build:
        words = command_line(command, root=str(project.root), stage=stage, device=device)
        run_in(tree, words)


def state_of(tree: Path, written: Sequence[str] = ()) -> str:
    """What decides a tree's behaviour: its commit, and what was changed since.

    New files of git's are part of it, except those below the folders `written`, such as records
    that were just added to the store.
    """
    changed = run_in(tree, ["git", "diff", "HEAD"])
    new = run_in(
        tree,
        [
            "git", "ls-files", "--others", "--exclude-standard",
            "--", ".", *(f":(exclude){folder}" for folder in written),
        ],
    )  # fmt: skip
    contents = [(tree / name).read_bytes() for name in new.splitlines()]
    return run_in(tree, ["git", "rev-parse", "HEAD"]) + changed + repr([new, contents])


def run_in(folder: Path, command: list[str]) -> str:
    """What a command prints in a folder. Raises LaunchError."""
    done = _start(command, folder, {})
    if done.returncode != 0:
        raise _failure(command, folder, done)
    return done.stdout


def _start(
    command: list[str], folder: Path, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    # The tree's own modules first; packages may lie where the variable says.
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, **variables},
    )


def _failure(
    command: list[str], folder: Path, done: subprocess.CompletedProcess[str]
) -> LaunchError:
    tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
    msg = f"{' '.join(command[:4])} ... in {folder} ended with {done.returncode}:\n{tail}"
    return LaunchError(msg)
