"""Compiles the core of the tree in the current folder into its engine/stagegate/ folder.

    python build_tree.py cpu|nvidia

A gate runs this file in trees of other revisions, so it imports nothing of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys


def main(device: str) -> None:
    cuda = device == "nvidia"
    # The tree of a base is checked out again for each gate.
    launchers = [
        f"-DCMAKE_{language}_COMPILER_LAUNCHER=ccache"
        for language in ("CXX", "CUDA")
        if shutil.which("ccache")
    ]
    folder = f"build/{'cuda' if cuda else 'cpu'}"
    for command in (
        [
            "cmake", "-S", ".", "-B", folder, "-G", "Ninja", *launchers,
            f"-DPython3_EXECUTABLE={sys.executable}", f"-DSTAGEGATE_CUDA={'ON' if cuda else 'OFF'}",
        ],
        ["cmake", "--build", folder],
        ["cmake", "--install", folder, "--prefix", "engine"],
    ):  # fmt: skip
        done = subprocess.run(command, check=False)
        if done.returncode:
            sys.exit(done.returncode)


if __name__ == "__main__":
    main(sys.argv[1])
