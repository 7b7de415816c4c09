"""NVIDIA's management library, where there is one."""

from __future__ import annotations

from typing import Any


def connect() -> Any | None:
    """The module pynvml, initialised; None without the package, a driver or a GPU.

    Every connection needs an nvmlShutdown of its own.
    """
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
