"""Parts of the core that need neither a device nor Python, as programs that check themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stagegate import _C

SUITE = Path(__file__).parent
PROGRAMS = sorted((SUITE / "native").glob("*.cpp"))
COMPILER = os.environ.get("CXX") or shutil.which("c++")


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler: set CXX")
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_a_native_program_finds_nothing_wrong(program: Path, tmp_path: Path) -> None:
    binary = tmp_path / program.stem
    core = Path(str(_C.__file__)).parent
    command = [
        *(str(COMPILER), "-std=c++20", "-Wall", "-Wextra", "-Werror"),
        *(f"-I{SUITE.parents[1] / 'csrc'}", str(program), "-o", str(binary)),
        *(f"-L{core}", "-lstagegate", f"-Wl,-rpath,{core}", "-Wl,--allow-shlib-undefined"),
    ]
    compiled = subprocess.run(command, check=False, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr
    ran = subprocess.run([str(binary)], check=False, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
