"""The distribution has all of the harness, and nothing of the engine."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from suites.harness.conftest import PYTHONPATH, ROOT

PACKAGES = {
    "stagegate_harness": ROOT / "suites" / "harness" / "stagegate_harness",
    "stagegate_baselines": ROOT / "baselines" / "stagegate_baselines",
    "stagegate_reports": ROOT / "reports" / "stagegate_reports",
}


def test_the_wheel_has_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hatchling")
    monkeypatch.chdir(ROOT / "suites" / "harness")
    name = importlib.import_module("hatchling.build").build_wheel(str(tmp_path))
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
        "print([name for name in sys.modules if name.split('.')[0] in ('engine', 'suites')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, env={"PYTHONPATH": PYTHONPATH}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"
