"""What a build is told to install, by what the machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.adapter import toolchain


def test_a_stated_compiler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-c++ -m64")
    assert "CXX=no-such-c++ does not exist: apt install g++" in (toolchain.missing_compiler() or "")
    monkeypatch.setenv("CXX", "sh -c")
    assert toolchain.missing_compiler() is None
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "no C++ compiler" in (toolchain.missing_compiler() or "")


def test_a_toolkit_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvcc = tmp_path / "bin" / "nvcc"
    monkeypatch.setenv("CUDACXX", str(nvcc))
    assert toolchain.missing_cuda_group() == "cuda"
    nvcc.parent.mkdir()
    nvcc.touch()
    assert toolchain.missing_cuda_group() == "cublas"
    header = tmp_path / "targets" / "x86_64-linux" / "include" / "cublasLt.h"
    header.parent.mkdir(parents=True)
    header.touch()
    assert toolchain.missing_cuda_group() is None
