"""Before it is built the engine says how to build it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine's Python files alone."""
    folder = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "engine" / "stagegate", folder / "stagegate", ignore=ignored)
    return folder


def run(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Without site (-S) an editable installation of the engine is not found, built as it is.
    packages = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    path = os.pathsep.join([str(checkout), *packages])
    return subprocess.run(
        [sys.executable, "-S", *arguments], cwd=checkout, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_importing_it_names_the_session_that_builds_it(checkout: Path) -> None:
    last = run(checkout, "-c", "from stagegate import LLM").stderr.splitlines()[-1]
    assert last.startswith("stagegate.errors.NotBuiltError: the engine is not built")
    assert "nox -s build" in last


def test_it_is_an_import_error(checkout: Path) -> None:
    program = "try:\n from stagegate import _C\nexcept ImportError as error:\n print(error)"
    assert "nox -s build" in run(checkout, "-c", program).stdout


def test_the_command_says_so_in_a_line(checkout: Path) -> None:
    done = run(checkout, "-m", "stagegate", "generate", "--model", str(checkout), "--prompt", "x")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the engine is not built for this Python: nox -s build")
    assert len(done.stderr.splitlines()) == 1


def test_the_configuration_needs_no_core(checkout: Path) -> None:
    assert run(checkout, "-c", "from stagegate import EngineConfig").returncode == 0
