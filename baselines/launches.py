"""Real launches: a source tree on each side, a fresh pytest process each time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from baselines.gate import Side
from baselines.record_file import read_record
from baselines.records import Record
from baselines.store import StoreError


class LaunchError(Exception):
    """A tree could not be built or a suite did not run; the message ends with what it printed."""


class PytestSource:
    """Runs the benchmarks of a stage in the tree of a side.

    Files of launches stay in `folder`; a gate that was stopped reads them instead of launching
    again, so the folder must belong to these two trees in this state.
    """

    def __init__(
        self, trees: Mapping[Side, Path], *, stage: str, arguments: Sequence[str], folder: Path
    ) -> None:
        self._trees = trees
        self._stage = stage
        self._arguments = arguments
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def launch(self, side: Side, number: int) -> Record:
        file = self._folder / f"{side}-{number:02}.json"
        if not file.exists():
            unfinished = file.with_suffix(".part")
            _run(
                [
                    sys.executable, "-m", "pytest", "-q", "--stage", self._stage,
                    "--benchmark-only", f"--benchmark-json={unfinished}", *self._arguments,
                ],
                self._trees[side],
            )  # fmt: skip
            unfinished.replace(file)
        try:
            return read_record(file)
        except StoreError as error:
            raise LaunchError(str(error)) from error


def check_out(root: Path, revision: str, folder: Path) -> Path:
    """The tree of a revision of the repository `root`, made below `folder` when not there."""
    commit = _run(["git", "rev-parse", "--verify", f"{revision}^{{commit}}"], root).strip()
    tree = folder / commit[:12]
    if not tree.exists():
        _run(["git", "worktree", "prune"], root)
        _run(["git", "worktree", "add", "--detach", str(tree), commit], root)
    return tree


def build(tree: Path) -> None:
    """Compile the core of a tree and put it into its engine/ folder."""
    folder = tree / "build" / "gate"
    _run(
        [
            "cmake", "-S", str(tree), "-B", str(folder), "-G", "Ninja",
            f"-DPython3_EXECUTABLE={sys.executable}",
        ],
        tree,
    )  # fmt: skip
    _run(["cmake", "--build", str(folder)], tree)
    _run(["cmake", "--install", str(folder), "--prefix", str(tree)], tree)


def state_of(tree: Path) -> str:
    """What decides a tree's behaviour: its commit, and what was changed since."""
    return _run(["git", "rev-parse", "HEAD"], tree) + _run(["git", "diff", "HEAD"], tree)


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        msg = f"{' '.join(command[:4])} ... in {folder} ended with {done.returncode}:\n{tail}"
        raise LaunchError(msg)
    return done.stdout
