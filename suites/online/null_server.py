"""A server whose model computes nothing, to see what the server itself costs.

python -m suites.online.null_server MODEL_FOLDER prints its port and serves until it is killed.
Scheduling, detokenising and everything above are those of every server.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import numpy as np
import uvicorn

from engine.async_llm import AsyncLLM
from engine.config import EngineConfig
from engine.llm_engine import LLMEngine
from engine.server.app import create_app
from engine.server.connection import ConnectionLimits, limited_connection
from engine.server.settings import ServerSettings
from engine.step import StepInput, StepOutput


class NullWorker:
    """Draws the same token for every row, at once."""

    def __init__(self, token_id: int) -> None:
        self._token_id = token_id

    def execute(self, step: StepInput) -> StepOutput:
        token_ids = np.full(len(step.logits_indices), self._token_id, np.int32)
        return StepOutput(token_ids=token_ids, logprobs=None, top_ids=None, top_logprobs=None)


def null_engine(model: Path) -> LLMEngine:
    """An engine that answers every prompt with the word " the", over and over."""
    config = EngineConfig(
        model=model, dtype="f32", kv_capacity_tokens=1 << 16, enable_prefix_cache=False
    )
    engine = LLMEngine(config)
    [token_id] = engine.tokenizer.encode(" the")
    engine.worker = NullWorker(token_id)  # type: ignore[assignment]
    return engine


def main() -> None:
    app = create_app({"null": AsyncLLM(null_engine(Path(sys.argv[1])))}, ServerSettings())
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app, http=limited_connection(ConnectionLimits()), ws="none", log_level="error"
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
