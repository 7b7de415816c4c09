"""Trees of other revisions, checked out for as long as a gate needs them."""

from __future__ import annotations

import fcntl
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stagegate_baselines.gate.launches import LaunchError, run_in

_TREE = re.compile(r"^[0-9a-f]{12}$")


@contextmanager
def checked_out(root: Path, revision: str, folder: Path) -> Iterator[Path]:
    """The tree of a revision of the repository `root`, below `folder`; git forgets it afterwards.

    Where `root` is a folder of its repository, it is that folder of the tree. It always lies in the
    same place, so that compiler caches know it again. Trees that gates left that were killed
    are removed. Raises LaunchError for an unknown revision, and where another gate
    is using the tree.
    """
    commit = run_in(root, ["git", "rev-parse", "--verify", f"{revision}^{{commit}}"]).strip()
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.iterdir():
        if _TREE.match(left_over.name):
            with _locked(left_over) as free:
                if free:
                    _remove(root, left_over)
    tree = folder / commit[:12]
    with _locked(tree) as free:
        if not free:
            msg = f"another gate is using {tree}; start this one when it has ended"
            raise LaunchError(msg)
        try:
            run_in(root, ["git", "worktree", "prune"])
            run_in(root, ["git", "worktree", "add", "--detach", str(tree), commit])
            yield tree / run_in(root, ["git", "rev-parse", "--show-prefix"]).strip()
        finally:
            _remove(root, tree)


@contextmanager
def _locked(tree: Path) -> Iterator[bool]:
    """Whether no other process has this tree; the kernel frees the lock of one that died."""
    with tree.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _remove(root: Path, tree: Path) -> None:
    """Though it has built files. A tree that git does not know stays where it is."""
    subprocess.run(
        ["git", "worktree", "remove", "--force", str(tree)],
        cwd=root, capture_output=True, check=False,
    )  # fmt: skip
