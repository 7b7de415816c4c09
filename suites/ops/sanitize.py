"""Run the tests of operators and tensors on a GPU under NVIDIA's compute-sanitizer.

    python -m suites.ops.sanitize [--tool racecheck] [--cases-per-test 4] [PYTEST...]

Three tools, one run of the suite each:

- memcheck, of all kernels: accesses out of bounds or misaligned.
- racecheck, of this project's kernels: hazards between threads that share memory. Nothing that
  calls cuBLAS runs: on Hopper its kernels access illegal addresses under racecheck, and only there.
- initcheck, of all kernels: memory read before it was written. Nothing runs that goes on with a
  product of cuBLAS: on Hopper its kernels write by bulk copies of tensors, which initcheck does not
  see. A read that a kernel of cuBLAS makes is counted apart and fails nothing: they load whole
  tiles and leave out what lies outside of the matrix afterwards.

What runs is suites/ops and suites/core, as far as it takes one small launch or a few: of every test
some cases, which have every value of its parameters that so many can have; of every property of an
operator a few examples; no benchmark, and nothing marked unsanitized: caches of gigabytes, layers
of real models, tens of thousands of draws. A CUDA call that fails is not reported here: the engine
turns it into an exception, and some tests provoke one.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PROGRAM = "compute-sanitizer"
OWN_KERNELS = "stagegate"  # their namespace


class Tool(NamedTuple):
    """cases: of a test, at most. without: files that are left out."""

    options: list[str]
    cases: int
    without: tuple[str, ...] = ()


# Products and what goes on with them.
_BLOCKS = ("suites/ops/test_attention_blocks.py", "suites/ops/test_output_blocks.py")

TOOLS = {
    "memcheck": Tool(["--report-api-errors", "no"], cases=6),
    # The slowest: it follows every access to shared memory.
    "racecheck": Tool(
        ["--kernel-name", f"kernel_substring={OWN_KERNELS}"],
        cases=3,
        without=(
            "suites/ops/test_linear.py",
            "suites/ops/test_layer.py",
            "suites/ops/test_ledger.py",
            *_BLOCKS,
        ),
    ),
    "initcheck": Tool([], cases=4, without=("suites/ops/test_layer.py", *_BLOCKS)),
}
# Tools whose findings in kernels of others count for nothing.
OWN_ONLY = {"initcheck"}

PYTEST = [
    "-m", "pytest", "suites/ops", "suites/core", "--device", "nvidia", "--require", "gpu",
    "--benchmark-skip", "--hypothesis-profile", "few", "-p", "no:cacheprovider", "-q",
    "-m", "not unsanitized",
]  # fmt: skip

# A finding begins at the margin and goes on indented. The summary at the end is none.
_LINE = re.compile(r"^=========(?P<indent> +)(?P<text>\S.*)$")
_NO_FINDING = re.compile(
    r"COMPUTE-SANITIZER|[A-Z]+ SUMMARY:|Target application returned|Program hit"
)
_SUMMARY = re.compile(r"^========= (?:[A-Z]+ )?SUMMARY:.*$", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """kernel: the line that says where; None when it was not in a kernel."""

    what: str
    kernel: str | None

    @property
    def is_own(self) -> bool:
        return self.kernel is None or OWN_KERNELS in self.kernel


def findings(log: str) -> Iterator[Finding]:
    """What a tool reported, from the text it writes.

    ========= Invalid __global__ write of size 4 bytes
    =========     at void add_kernel<float>(float *)+0x90
    =========     by thread (0,0,0) in block (0,0,0)
    """
    what, kernel = None, None
    for line in log.splitlines():
        match = _LINE.match(line)
        if match is None or len(match["indent"]) == 1:
            if what is not None:
                yield Finding(what, kernel)
            what, kernel = None, None
            if match is not None and not _NO_FINDING.match(match["text"]):
                what = match["text"]
                # A race names the kernel in its first line.
                _, _, place = what.partition(" at ")
                kernel = place or None
        elif kernel is None and match["text"].startswith("at "):
            kernel = match["text"].removeprefix("at ")
    if what is not None:
        yield Finding(what, kernel)


def program() -> str | None:
    """From the PATH, a CUDA toolkit, or the wheel nvidia-cuda-sanitizer-api."""
    folders = [
        Path(root, "bin")
        for root in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda")
        if root
    ]
    folders += sorted(Path(sysconfig.get_path("purelib")).glob("nvidia/*/bin"))
    found = (shutil.which(PROGRAM, path=str(folder)) for folder in folders)
    return shutil.which(PROGRAM) or next(filter(None, found), None)


def run(tool: str, sanitizer: str, log: Path, arguments: list[str]) -> bool:
    """One tool over the suite; prints what it found and returns whether all is well."""
    options, cases, without = TOOLS[tool]
    left_out = [f"--ignore={path}" for path in without]
    done = subprocess.run(
        [
            sanitizer, "--tool", tool, "--log-file", str(log), "--print-limit", "0",
            "--check-exit-code", "no", *options,
            sys.executable, *PYTEST, *left_out, "--cases-per-test", str(cases), *arguments,
        ],
        check=False,
    )  # fmt: skip
    text = log.read_text() if log.exists() else ""
    found = list(findings(text))
    counted = [finding for finding in found if finding.is_own or tool not in OWN_ONLY]
    for finding, count in Counter(counted).most_common():
        print(f"{tool}: {count} times {finding.what} in {finding.kernel}")
    summary = _SUMMARY.findall(text)
    print(
        f"{tool}: {len(counted)} findings, {len(found) - len(counted)} more in kernels of others; "
        f"pytest exits with {done.returncode}; {summary[-1] if summary else 'the tool did not run'}"
    )
    return done.returncode == 0 and bool(summary) and not counted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", choices=TOOLS, action="append", help="default: all three")
    parser.add_argument("--logs", type=Path, help="folder for what the tools write")
    arguments, others = parser.parse_known_args()
    sanitizer = program()
    if sanitizer is None:
        print(f"no {PROGRAM}: pip install nvidia-cuda-sanitizer-api", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        logs = arguments.logs or Path(folder)
        logs.mkdir(parents=True, exist_ok=True)
        well = [
            run(tool, sanitizer, logs / f"{tool}.log", others) for tool in arguments.tool or TOOLS
        ]
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main())
