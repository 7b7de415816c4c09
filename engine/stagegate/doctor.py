"""What this machine has for building and running the engine, and how to get what it lacks.

Works before the engine is built: standard library only.
"""

from __future__ import annotations

import ctypes.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, TextIO

from stagegate.server.http import packages as server_packages

_MINIMUM_PYTHON = (3, 11)
_MINIMUM_CMAKE = (3, 25)
# Packages of the engine itself; without them it does not start.
_RUNTIME_PACKAGES = ("numpy", "tokenizers", "safetensors", "jinja2", "rich")
_BUILD_PACKAGES = ("scikit-build-core", "pybind11")
_SERVER = "server: pip install '.[server]' (nox -s serve does)"
_OPTIONAL_PACKAGES = {
    **dict.fromkeys(
        (*server_packages.REQUIRED, *server_packages.OPTIONAL),
        f"server: {server_packages.HOW_TO_INSTALL}",
    ),
    "aiohttp": "load generator: pip install -e '.[test]'",
    "pytest": "tests: pip install -e '.[test]'",
    "pytest-benchmark": "benchmarks: pip install -e '.[test]'",
    "fastapi": _SERVER,
    "uvicorn": _SERVER,
    "llguidance": _SERVER,
    "prometheus-client": _SERVER,
    "torch": "parity tests: pip install -e '.[parity]'",
    "transformers": "parity tests: pip install -e '.[parity]'",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report. found: what is here, None when it is missing. fix: how to get it.
    required: the CPU engine cannot be built or run without it."""

    name: str
    found: str | None
    fix: str
    required: bool = False


def run(stream: TextIO) -> int:
    """Write the report. Returns 0, or 1 when something is missing that the CPU build needs."""
    blocked = []
    for title, findings in (
        ("build", _build_tools()),
        ("GPU", _gpu()),
        ("engine", _core()),
        ("timings", _timings()),
        ("Python packages", _packages()),
    ):
        print(title, file=stream)
        for finding in findings:
            print(_line(finding), file=stream)
            if finding.required and finding.found is None:
                blocked.append(finding.name)
    if blocked:
        print(f"The CPU build cannot work without: {', '.join(blocked)}", file=stream)
        return 1
    print("The CPU build has all it needs.", file=stream)
    return 0


def _line(finding: Finding) -> str:
    if finding.found is not None:
        return f"  ok       {finding.name}: {finding.found}"
    return f"  {'MISSING' if finding.required else 'missing'}  {finding.name} -> {finding.fix}"


def _build_tools() -> Iterator[Finding]:
    python = platform.python_version() if sys.version_info[:2] >= _MINIMUM_PYTHON else None
    yield Finding("Python", python, "install Python 3.11 or newer", required=True)
    yield Finding(
        "conda",
        next((path for name in ("micromamba", "mamba", "conda") if (path := _path(name))), None),
        "optional; nox falls back to a virtualenv",
    )
    compiler = _program(os.environ.get("CXX", "c++")) or _program("g++") or _program("clang++")
    yield Finding(
        "C++ compiler", compiler, "apt install g++, or conda install cxx-compiler", required=True
    )
    yield Finding("CMake >= 3.25", _cmake(), "pip install cmake", required=True)
    yield Finding("Ninja", _program("ninja"), "pip install ninja (make serves too)")
    yield Finding("ccache", _program("ccache"), "optional; apt install ccache for faster rebuilds")
    for name in _BUILD_PACKAGES:
        yield Finding(name, _installed(name), f"pip install {name} (nox -s build does)")


def _gpu() -> Iterator[Finding]:
    yield Finding(
        "nvcc",
        _nvcc(),
        "pip install nvidia-cuda-nvcc (nox -s build-cuda does), or install the CUDA toolkit",
    )
    query = ("--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
    smi = _path("nvidia-smi")
    gpus = _output(smi, *query).splitlines() if smi else []
    yield Finding(
        "GPU (name, driver, memory)", "; ".join(gpus) or None, "install the NVIDIA driver, or a GPU"
    )
    yield Finding("cuBLAS", _library("cublas"), "pip install nvidia-cublas")
    yield Finding("NCCL", _library("nccl"), "pip install nvidia-nccl-cu13")


def _core() -> Iterator[Finding]:
    try:
        info: dict[str, Any] = import_module("stagegate._C").build_info()
    except ImportError as error:
        # Also a core that is there but was built for another Python or misses a library.
        yield Finding("stagegate._C", None, f"nox -s build ({error})")
        return
    yield Finding(
        "stagegate._C",
        f"{info['version']}, {info['build_type']}, {info['compiler']}",
        "nox -s build",
    )
    yield Finding(
        "oneDNN in it", info["onednn"], "pip install onednn-devel-cpu-gomp, then nox -s build"
    )
    yield Finding("CUDA in it", info["cuda"], "nox -s build-cuda")
    yield Finding(
        "FlashInfer in it", info["flashinfer"], "optional; nox -s build-cuda -- --flashinfer"
    )


def _timings() -> Iterator[Finding]:
    """Which kernels were found to be the fastest on the GPUs of this machine, and kept."""
    try:
        core = import_module("stagegate._C")
    except ImportError:
        return  # said by _core
    folder = core.timing_folder()
    yield Finding(
        "kept in",
        str(folder) if folder else None,
        "kernels are timed in every process: STAGEGATE_CACHE is off, or there is no home folder; "
        "set STAGEGATE_CACHE to a folder",
    )
    for file in core.kept_timings():
        damaged = f", {file.damaged} damaged lines" if file.damaged else ""
        subject = file.subject or "no file of timings"
        yield Finding(file.path.name, f"{subject}: {len(file.winners)} choices{damaged}", "")


def clear_timings(stream: TextIO) -> int:
    """Remove what was kept of all GPUs, so that kernels are timed again. Returns 0."""
    files = import_module("stagegate._C").kept_timings()
    for file in files:
        file.path.unlink(missing_ok=True)
        file.path.with_name(f"{file.path.name}.lock").unlink(missing_ok=True)
        print(f"removed {file.path}", file=stream)
    if not files:
        print("no timings are kept", file=stream)
    return 0


def _packages() -> Iterator[Finding]:
    for name in _RUNTIME_PACKAGES:
        yield Finding(name, _installed(name), f"pip install {name} (nox -s build does)")
    for name, fix in _OPTIONAL_PACKAGES.items():
        yield Finding(name, _installed(name), fix)


def _nvcc_candidates() -> Iterator[Path]:
    """Where cmake/Cuda.cmake finds it."""
    if "CUDACXX" in os.environ:
        yield Path(os.environ["CUDACXX"])
    for root in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"):
        if root:
            yield Path(root, "bin", "nvcc")
    yield from _wheel_files("bin/nvcc")
    if path := _path("nvcc"):
        yield Path(path)


def _path(program: str) -> str | None:
    """Also beside the interpreter: an environment serves without being activated."""
    beside = shutil.which(program, path=str(Path(sys.executable).parent))
    return beside or shutil.which(program)


def _program(name: str) -> str | None:
    """First line of a program's --version and its path; None when it is not there or is broken."""
    path = _path(name)
    if path is None:
        return None
    lines = _output(path, "--version").splitlines()
    return f"{lines[0]} ({path})" if lines else None


def _output(program: str | Path, *arguments: str) -> str:
    """Standard output; empty when the program cannot be run or fails."""
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _cmake() -> str | None:
    """Like _program, but None for a CMake that is too old."""
    cmake = _program("cmake")
    version = re.search(r"version (\d+)\.(\d+)", cmake or "")
    serves = version is not None and (int(version[1]), int(version[2])) >= _MINIMUM_CMAKE
    return cmake if serves else None


def _nvcc() -> str | None:
    for path in _nvcc_candidates():
        if release := re.search(r"release \S+, V(\S+)", _output(path, "--version")):
            return f"{release[1]} ({path})"
    return None


def _library(name: str) -> str | None:
    found = next((str(path) for path in _wheel_files(f"lib/lib{name}.so*")), None)
    return found or ctypes.util.find_library(name)


def _wheel_files(pattern: str) -> Iterator[Path]:
    """Files of NVIDIA's wheels in this environment."""
    for site_packages in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        yield from sorted(Path(site_packages).glob(f"nvidia/*/{pattern}"))


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
