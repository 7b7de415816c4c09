"""A server whose model computes nothing, to measure the cost of the server itself.

python -m suites.online.null_server MODEL_FOLDER STEP_SECONDS prints its port and serves until it
is killed. Scheduling, detokenising and everything above are those of every server.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import uvicorn

from stagegate.async_llm import AsyncLLM
from stagegate.build import build_engine
from stagegate.config import EngineConfig
from stagegate.core.llm_engine import LLMEngine
from stagegate.server.app import create_app
from stagegate.server.http.connection import ConnectionLimits, limited_connection
from stagegate.server.http.settings import ServerSettings
from stagegate.text.tokenizer import Tokenizer
from suites.engine.fake_executor import FakeExecutor, any_of


def null_engine(model: Path, *, step_seconds: float) -> LLMEngine:
    """An engine that answers every prompt with the word " the", over and over."""
    config = EngineConfig(model=model, kv_capacity_tokens=1 << 16, enable_prefix_cache=False)
    word = Tokenizer.load(model).encode(" the")
    return build_engine(config, executor=FakeExecutor(any_of(word), step_seconds=step_seconds))


def main() -> None:
    engine = null_engine(Path(sys.argv[1]), step_seconds=float(sys.argv[2]))
    app = create_app({"null": AsyncLLM(engine)}, ServerSettings())
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app, http=limited_connection(ConnectionLimits()), ws="none", log_level="error"
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
