"""Stagegate: an inference engine for decoder-only language models.

from stagegate import LLM, SamplingParams

llm = LLM("path/to/checkpoint")
for output in llm.generate(["Alice was"], SamplingParams(temperature=0, max_tokens=32)):
    print(output.outputs[0].text)
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stagegate.async_llm import AsyncLLM as AsyncLLM
    from stagegate.build import build_engine as build_engine
    from stagegate.config import EngineConfig as EngineConfig
    from stagegate.core.llm_engine import LLMEngine as LLMEngine
    from stagegate.llm import LLM as LLM
    from stagegate.outputs import RequestOutput as RequestOutput
    from stagegate.sampling import SamplingParams as SamplingParams

# How long an OpenMP thread of the core spins before it sleeps: about the time between two
# operators. By default it spins for milliseconds, and where two threads have to share a processor,
# every one of a step's hundred barriers then takes as long. Read once, when the core is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# Loaded on first use: a tool that only wants the configuration does not pay for the core.
_HOMES = {
    "AsyncLLM": "stagegate.async_llm",
    "EngineConfig": "stagegate.config",
    "LLM": "stagegate.llm",
    "LLMEngine": "stagegate.core.llm_engine",
    "RequestOutput": "stagegate.outputs",
    "SamplingParams": "stagegate.sampling",
    "build_engine": "stagegate.build",
}

__all__ = [
    "LLM",
    "AsyncLLM",
    "EngineConfig",
    "LLMEngine",
    "RequestOutput",
    "SamplingParams",
    "build_engine",
]


def __getattr__(name: str) -> object:
    if name == "_C":  # only as long as it has not been imported
        return import_module("stagegate.native")._C
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
