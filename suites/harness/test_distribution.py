"""The distribution has all of the harness, and nothing of the engine."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from suites.harness.conftest import PYTHONPATH, ROOT

PACKAGES = {
    "stagegate_harness": ROOT / "suites" / "harness" / "stagegate_harness",
    "stagegate_baselines": ROOT / "baselines" / "stagegate_baselines",
    "stagegate_reports": ROOT / "reports" / "stagegate_reports",
}


@pytest.fixture
def backend() -> Any:
    return pytest.importorskip("hatchling.build")


@pytest.mark.parametrize("source", ["checkout", "source distribution"])
def test_the_wheel_has_every_file(
    backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(ROOT / "suites" / "harness")
    if source != "checkout":
        archive = backend.build_sdist(str(tmp_path))
        with tarfile.open(tmp_path / archive) as packed_source:
            packed_source.extractall(tmp_path, filter="data")
        monkeypatch.chdir(tmp_path / archive.removesuffix(".tar.gz"))
    name = backend.build_wheel(str(tmp_path))
    with ZipFile(tmp_path / name) as wheel:
        packed = {path for path in wheel.namelist() if ".dist-info/" not in path}
        [entry_points] = [path for path in wheel.namelist() if path.endswith("entry_points.txt")]
        assert (
            "stagegate-harness = stagegate_harness.__main__:run"
            in wheel.read(entry_points).decode()
        )
    assert packed == {
        f"{package}/{file.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_an_editable_installation_has_no_copy(
    backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT / "suites" / "harness")
    with ZipFile(tmp_path / backend.build_editable(str(tmp_path))) as wheel:
        [paths] = [path for path in wheel.namelist() if ".dist-info/" not in path]
        folders = {Path(line).resolve() for line in wheel.read(paths).decode().splitlines()}
    assert folders == {folder.parent for folder in PACKAGES.values()}


def test_it_imports_no_engine() -> None:
    """Nor anything of the suites of this repository, whatever is installed beside it."""
    modules = [
        ".".join((package, *file.relative_to(folder).with_suffix("").parts))
        for package, folder in PACKAGES.items()
        for file in sorted(folder.rglob("*.py"))
        if file.stem not in ("__init__", "__main__")
    ]
    program = (
        "import importlib, sys\n"
        f"for name in {modules}: importlib.import_module(name)\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('stagegate', 'suites')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, env={"PYTHONPATH": PYTHONPATH}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"
