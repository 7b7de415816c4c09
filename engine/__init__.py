"""Stagegate: an inference engine for decoder-only language models.

from engine import LLM, SamplingParams

llm = LLM("path/to/checkpoint")
for output in llm.generate(["Alice was"], SamplingParams(temperature=0, max_tokens=32)):
    print(output.outputs[0].text)
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.async_llm import AsyncLLM as AsyncLLM
    from engine.config import EngineConfig as EngineConfig
    from engine.llm import LLM as LLM
    from engine.llm_engine import LLMEngine as LLMEngine
    from engine.outputs import RequestOutput as RequestOutput
    from engine.sampling import SamplingParams as SamplingParams

# How long an OpenMP thread of the core spins before it sleeps: about the time between two
# operators. By default it spins for milliseconds, and where two threads have to share a processor,
# every one of a step's hundred barriers then takes as long. Read once, when the core is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# Loaded on first use: a tool that only wants the configuration does not pay for the core.
_HOMES = {
    "AsyncLLM": "engine.async_llm",
    "EngineConfig": "engine.config",
    "LLM": "engine.llm",
    "LLMEngine": "engine.llm_engine",
    "RequestOutput": "engine.outputs",
    "SamplingParams": "engine.sampling",
}

__all__ = ["LLM", "AsyncLLM", "EngineConfig", "LLMEngine", "RequestOutput", "SamplingParams"]


def __getattr__(name: str) -> object:
    if name == "_C":  # only as long as it has not been imported
        return _native_core()
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def _native_core() -> object:
    try:
        return import_module("engine._C")
    except ImportError as error:
        from engine.errors import NotBuiltError

        msg = f"the engine is not built for this Python: nox -s build, or pip install . ({error})"
        raise NotBuiltError(msg) from error
