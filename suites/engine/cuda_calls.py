"""Calls of CUDA that a step must not make, and the one that it must."""

from __future__ import annotations

import re

from stagegate_harness.trace_events import Trace

ALLOCATION = re.compile(
    r"cuda(Malloc|Free|Host(Alloc|Register|Unregister))"
    r"|cuMem(Alloc|Free|Host(Alloc|Register|Unregister)|Create|Release|Map|Unmap)"
)
# Waiting for an event is how the results of a step are waited for, and all there is.
WAITING = re.compile(
    r"cuda(Device|Stream|Thread)Synchronize|cu(Ctx|Stream)Synchronize"
    r"|cuda(Memcpy|Memset)(2D|3D|Peer|ToSymbol|FromSymbol)?|cuMemcpy(HtoD|DtoH|DtoD|Peer)?|"
    r"cuMemsetD(8|16|32)"
)
LAUNCH = re.compile(r"cu(da)?(LaunchKernel|GraphLaunch)")


def names_of(trace: Trace, pattern: re.Pattern[str], *, whole: bool = False) -> list[str]:
    """Of the calls whose name begins with the pattern, or is it as a whole."""
    match = pattern.fullmatch if whole else pattern.match
    return [call.name for call in trace.calls if match(call.name)]
