"""Trees of other revisions, in a real repository."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stagegate_baselines.gate.launches import LaunchError, state_of
from stagegate_baselines.gate.worktrees import checked_out


def registered(repository: Path) -> list[str]:
    """The worktrees that git knows, but for the repository itself."""
    listed = subprocess.run(
        ["git", "worktree", "list", "--porcelain"],
        cwd=repository, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    trees = [line.split(" ", 1)[1] for line in listed.splitlines() if line.startswith("worktree ")]
    return trees[1:]


def test_a_tree_lives_as_long_as_its_gate(repository: Path, tmp_path: Path) -> None:
    with checked_out(repository, "HEAD~1", tmp_path / "trees") as tree:
        assert (tree / "file").read_text() == "one"
        assert registered(repository) == [str(tree)]
        state = state_of(tree)
        assert state != state_of(repository)
        (tree / "build").mkdir()
        (tree / "build" / "core.so").write_text("built")
    assert not tree.exists()
    assert registered(repository) == []
    # The next gate of these trees finds the launches of this one: place and state are the same.
    with checked_out(repository, "HEAD~1", tmp_path / "trees") as again:
        assert (again, state_of(again)) == (tree, state)


@pytest.mark.parametrize("end", [RuntimeError, KeyboardInterrupt, LaunchError])
def test_a_gate_that_ends_early_leaves_no_tree(
    repository: Path, tmp_path: Path, end: type[BaseException]
) -> None:
    with pytest.raises(end), checked_out(repository, "HEAD~1", tmp_path / "trees"):
        raise end
    assert registered(repository) == []


def test_what_a_killed_gate_left_is_removed(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "trees"
    commits = subprocess.run(
        ["git", "rev-list", "HEAD"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.split()
    for commit in commits:
        subprocess.run(
            ["git", "worktree", "add", "-q", "--detach", str(folder / commit[:12]), commit],
            cwd=repository, check=True,
        )  # fmt: skip
    (folder / commits[1][:12] / "file").write_text("changed since")
    with checked_out(repository, "HEAD~1", folder) as tree:
        assert (tree / "file").read_text() == "one"
        assert registered(repository) == [str(tree)]
    assert registered(repository) == []


def test_a_tree_that_was_deleted_by_hand_is_made_again(repository: Path, tmp_path: Path) -> None:
    tree = tmp_path / "trees" / subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout[:12]  # fmt: skip
    subprocess.run(["git", "worktree", "add", "-q", str(tree)], cwd=repository, check=True)
    shutil.rmtree(tree)
    with checked_out(repository, "HEAD", tmp_path / "trees") as made:
        assert (made / "file").read_text() == "two"


def test_a_project_in_a_folder_of_a_repository_is_that_folder_of_the_tree(
    repository: Path, tmp_path: Path
) -> None:
    with checked_out(repository / "suites", "HEAD~1", tmp_path / "trees") as tree:
        assert [path.name for path in tree.iterdir()] == ["stages.toml"]


def test_two_gates_do_not_share_a_tree(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "trees"
    with checked_out(repository, "HEAD~1", folder) as tree:
        with (
            pytest.raises(LaunchError, match=r"another gate is using .*; start this one when"),
            checked_out(repository, "HEAD~1", folder),
        ):
            pass
        # One of another revision goes on, and leaves the first its tree.
        with checked_out(repository, "HEAD", folder) as other:
            assert other != tree
        assert (tree / "file").exists()
        assert registered(repository) == [str(tree)]
    assert registered(repository) == []


def test_an_unknown_revision_is_named(repository: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(LaunchError, match="no-such-revision"),
        checked_out(repository, "no-such-revision", tmp_path / "trees"),
    ):
        pass
