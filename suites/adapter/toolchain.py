"""What a build takes from the machine itself: a compiler, ccache, a CUDA toolkit.

noxfile.py asks before anything is installed, so this imports nothing that would have to be.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def missing_compiler() -> str | None:
    """What is missing and how to get it; CMake's own words blame a variable that nobody set."""
    stated = os.environ.get("CXX", "").split()[:1]
    if any(map(shutil.which, stated or ("c++", "g++", "clang++"))):
        return None
    lacking = f"CXX={stated[0]} does not exist" if stated else "no C++ compiler"
    return f"{lacking}: apt install g++ (GCC 12 or newer, or Clang 16)"


def compiler_cache() -> dict[str, str]:
    """Variables of CMake: ccache where it is installed, as a gate builds much the same twice."""
    if not shutil.which("ccache"):
        return {}
    return {f"CMAKE_{language}_COMPILER_LAUNCHER": "ccache" for language in ("CXX", "CUDA")}


def missing_cuda_group() -> str | None:
    """The dependency group with what the machine's own CUDA toolkit lacks."""
    compiler = os.environ.get("CUDACXX") or shutil.which("nvcc")
    roots = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    found = [Path(compiler)] if compiler else [Path(root, "bin", "nvcc") for root in roots if root]
    nvcc = next((path.resolve() for path in found if path.exists()), None)
    if nvcc is None:
        return "cuda"
    toolkit = nvcc.parent.parent
    includes = [toolkit / "include", *toolkit.glob("targets/*/include")]
    return None if any((path / "cublasLt.h").exists() for path in includes) else "cublas"
