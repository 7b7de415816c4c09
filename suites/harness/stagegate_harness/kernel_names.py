"""Names of kernels as people read them."""

from __future__ import annotations

import ctypes
import re
from functools import cache

# Names that say nothing without what stands before them, or in their brackets.
_EMPTY = ("kernel", "device_kernel", "Kernel", "Kernel2")


@cache
def demangled(name: str) -> str:
    """A C++ symbol as its source has it; as it is where no runtime of C++ is there to say."""
    if not name.startswith("_Z"):
        return name
    try:
        runtime = ctypes.CDLL("libstdc++.so.6")  # the engine's own core has loaded it
    except OSError:
        return name
    demangle = runtime.__cxa_demangle
    demangle.restype = ctypes.c_void_p
    status = ctypes.c_int()
    text = demangle(name.encode(), None, None, ctypes.byref(status))
    if status.value != 0 or not text:
        return name
    try:
        return ctypes.string_at(text).decode()
    finally:
        runtime.free.argtypes = [ctypes.c_void_p]
        runtime.free(text)


@cache
def short_name(name: str) -> str:
    """A demangled name without return type, namespaces, template arguments and parameters.

    Kernels of CUTLASS are one template, whose argument tells them apart: that is their name.
    """
    text = re.sub(r"\((anonymous namespace|unnamed namespace)\)::", "", name)
    path, brackets = _outermost(text)
    words = path.split("::")
    if words[-1] not in _EMPTY:
        return words[-1]
    if words[-1].startswith(("Kernel", "device_kernel")) and brackets:
        return short_name(brackets)
    return "::".join(words[-2:])


def _outermost(text: str) -> tuple[str, str]:
    """What is outside of <> and before the parameters, and what the last <> of it began with."""
    kept, brackets, depth = "", "", 0
    for letter in text:
        if letter == "<":
            depth += 1
            if depth == 1:
                brackets = ""
                continue
        elif letter == ">":
            depth -= 1
            if depth == 0:
                continue
        elif letter == "(" and depth == 0:
            break
        if depth == 0:
            kept, brackets = kept + letter, ""
        else:
            brackets += letter
    return kept.strip().rpartition(" ")[2], brackets.partition(",")[0]
