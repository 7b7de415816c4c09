"""What compute-sanitizer writes is read right; that it finds nothing is for a GPU to show."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.adapter.options import DTYPES
from suites.ops.attention_batch import FORMS
from suites.ops.sanitize import TOOLS, Finding, findings

ROOT = Path(__file__).parents[2]

MEMCHECK = """\
========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at void stagegate::cuda::add_kernel<float>(const float *, float *)+0x90
=========     by thread (0,0,0) in block (0,0,0)
=========     Address 0x7f0 is out of bounds
=========         Host Frame: cudaLaunchKernel in runtime.cpp:1 [0x1] in libcudart.so
=========
========= Invalid __global__ read of size 2 bytes
=========     at cutlass_80_tensorop_bf16_s16816gemm+0x1a0
========= ERROR SUMMARY: 2 errors
"""
RACECHECK = """\
========= COMPUTE-SANITIZER
========= Error: Race reported between Write access at void stagegate::cuda::sum(float *)+0x70
=========     and Read access at void stagegate::cuda::sum(float *)+0xd0 [124 hazards]
=========
========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)
"""
CLEAN = """\
========= COMPUTE-SANITIZER
========= ERROR SUMMARY: 0 errors
"""


def test_each_finding_is_counted_with_its_kernel() -> None:
    ours, theirs = findings(MEMCHECK)
    assert ours.what == "Invalid __global__ write of size 4 bytes"
    assert ours.kernel is not None
    assert ours.kernel.startswith("void stagegate::cuda::add_kernel<float>")
    assert ours.is_own
    assert theirs == Finding(
        "Invalid __global__ read of size 2 bytes", "cutlass_80_tensorop_bf16_s16816gemm+0x1a0"
    )
    assert not theirs.is_own


def test_a_race_is_one_finding() -> None:
    [race] = findings(RACECHECK)
    assert race.is_own
    assert race.kernel == "void stagegate::cuda::sum(float *)+0x70"


def test_what_no_kernel_did_is_ours() -> None:
    [copied] = findings("========= Host API uninitialized memory access\n=========     by cuMemcpy")
    assert copied.is_own


def test_a_clean_run_has_none() -> None:
    assert list(findings(CLEAN)) == []


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_has_cases_for_every_format_and_form(tool: str) -> None:
    """A sample of so many cases has every value of a parameter with as many or fewer."""
    assert TOOLS[tool].cases >= max(len(DTYPES), len(FORMS))


@pytest.mark.parametrize("tool", TOOLS)
def test_what_a_tool_leaves_out_is_there(tool: str) -> None:
    """pytest ignores a path that does not exist, and would then run what must not."""
    assert all((ROOT / path).is_file() for path in TOOLS[tool].without)
