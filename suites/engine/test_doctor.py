"""The doctor names what is missing and how to get it, on any machine and before any build."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from stagegate import doctor
from stagegate.__main__ import main


def report() -> tuple[int, str]:
    stream = io.StringIO()
    return doctor.run(stream), stream.getvalue()


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No program is found but those put into the folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    return tmp_path


def add_program(folder: Path, name: str, output: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{output}'\n")
    program.chmod(0o755)


def test_missing_tools_of_the_cpu_build_are_an_error(bare_machine: Path) -> None:
    status, text = report()
    assert status == 1
    assert "MISSING  C++ compiler -> apt install g++" in text
    assert "MISSING  CMake >= 3.25 -> pip install cmake" in text
    assert text.endswith("The CPU build cannot work without: C++ compiler, CMake >= 3.25\n")


@pytest.mark.parametrize(("version", "status"), [("3.24.9", 1), ("3.25.0", 0), ("4.0.1", 0)])
def test_cmake_has_to_be_new_enough(bare_machine: Path, version: str, status: int) -> None:
    add_program(bare_machine, "c++", "c++ 12.2.0")
    add_program(bare_machine, "cmake", f"cmake version {version}")
    assert report()[0] == status


def test_a_missing_gpu_is_no_error(bare_machine: Path) -> None:
    add_program(bare_machine, "c++", "c++ 12.2.0")
    add_program(bare_machine, "cmake", "cmake version 4.0.1")
    status, text = report()
    assert status == 0
    assert "missing  GPU (name, driver, memory) -> install the NVIDIA driver" in text


def test_gpus_are_listed(bare_machine: Path) -> None:
    add_program(bare_machine, "nvidia-smi", "NVIDIA H200, 580.1, 143771 MiB")
    assert "ok       GPU (name, driver, memory): NVIDIA H200, 580.1, 143771 MiB" in report()[1]


def test_an_engine_that_is_not_built_says_how_to_build_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "stagegate._C", None)
    assert "missing  stagegate._C -> nox -s build (" in report()[1]


def test_it_needs_the_standard_library_alone() -> None:
    # -S leaves site-packages out: this is the Python of a machine with nothing installed.
    code = "import sys; sys.path.insert(0, sys.argv[1]); import stagegate.doctor"
    root = Path(doctor.__file__).parents[1]
    subprocess.run([sys.executable, "-S", "-c", code, str(root)], check=True)


def test_what_the_server_lacks_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda name: None if name == "uvicorn" else "1")
    assert "missing  uvicorn -> server: pip install '.[server]'" in report()[1]


def checksum(text: str) -> str:
    """FNV-1a of 64 bits, as its bytes lie in memory."""
    value = 14695981039346656037
    for letter in text.encode():
        value = (value ^ letter) * 1099511628211 % 2**64
    return value.to_bytes(8, sys.byteorder).hex()


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of timings: of one GPU, with a damaged line, and a file of something else."""
    monkeypatch.setenv("STAGEGATE_CACHE", str(tmp_path))
    choice = "matmul rows=1\t00ff"
    lines = ["stagegate timings 1", "NVIDIA H200, driver 1", f"{checksum(choice)}\t{choice}", "x"]
    (tmp_path / "h200.timings").write_text("\n".join(lines) + "\n")
    (tmp_path / "h200.timings.lock").touch()
    (tmp_path / "other.timings").write_text("something else")
    (tmp_path / "notes.txt").touch()
    return tmp_path


def test_kept_timings_are_listed(kept: Path) -> None:
    text = report()[1]
    assert f"ok       kept in: {kept}\n" in text
    assert "ok       h200.timings: NVIDIA H200, driver 1: 1 choices, 1 damaged lines\n" in text
    assert "ok       other.timings: no file of timings: 0 choices, 1 damaged lines\n" in text


def test_timings_that_are_not_kept_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGEGATE_CACHE", "off")
    assert "missing  kept in -> kernels are timed in every process" in report()[1]


def test_timings_are_cleared(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--clear-timings"]) == 0
    assert [file.name for file in kept.iterdir()] == ["notes.txt"]
    said = capsys.readouterr().out
    assert said == f"removed {kept / 'h200.timings'}\nremoved {kept / 'other.timings'}\n"
    assert main(["doctor", "--clear-timings"]) == 0
    assert capsys.readouterr().out == "no timings are kept\n"
