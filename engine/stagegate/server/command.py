"""stagegate serve: the server as a command."""

from __future__ import annotations

import argparse
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from stagegate.config import (
    ATTENTION_BACKENDS,
    DEVICES,
    DTYPES,
    KV_LAYOUTS,
    LINEAR_BACKENDS,
    EngineConfig,
)
from stagegate.errors import ConfigError
from stagegate.kv.sizing import kv_memory_from_text
from stagegate.server.http.listener import BACKLOG, bind, listen
from stagegate.server.http.packages import check_packages
from stagegate.server.log_config import LEVELS, configure, log_config

if TYPE_CHECKING:
    import socket
    from types import FrameType

    from fastapi import FastAPI

    from stagegate.async_llm import AsyncLLM
    from stagegate.server.http.connection import ConnectionLimits
    from stagegate.server.http.settings import ServerSettings

API_KEY_VARIABLE = "STAGEGATE_API_KEY"
INTERRUPTED = 130  # exit status, as shells have it for SIGINT

_logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", action="append", required=True, metavar="[NAME=]DIR",
        help="checkpoint to serve, named NAME or after its folder; repeat for several",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=8000, help="0 means a free port [8000]")
    _add_access(parser.add_argument_group("access"))
    _add_limits(parser.add_argument_group("limits"))
    _add_engine(parser.add_argument_group("engine"))
    parser.add_argument(
        "--reasoning", action="store_true", help="separate <think>...</think> as reasoning_content"
    )
    parser.add_argument(
        "--open-schemas", action="store_true",
        help="let objects have properties their JSON schema does not list, unless it forbids them",
    )  # fmt: skip
    parser.add_argument(
        "--access-log", action=argparse.BooleanOptionalAction, default=False,
        help="log a line for every request",
    )  # fmt: skip
    parser.add_argument(
        "--log-level", choices=LEVELS, default="info",
        help="the least that the engine, the server and uvicorn write to stderr [info]",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, then finish the running requests.

    Exit status: 0 after SIGTERM, 130 after SIGINT. Raises ConfigError and ModelError.
    """
    check_packages()
    configure(arguments.log_level, access_log=arguments.access_log)
    from stagegate.server.app import create_app

    settings = _settings(arguments)
    folders = _folders(arguments)
    sockets = bind(arguments.host, arguments.port)
    try:
        app = create_app(_load(arguments, folders), settings)
        listen(sockets)
        return _serve(arguments, app, sockets)
    finally:
        for bound in sockets:
            bound.close()


def _serve(arguments: argparse.Namespace, app: FastAPI, sockets: list[socket.socket]) -> int:
    import uvicorn

    from stagegate.server.http.connection import limited_connection
    from stagegate.server.http.serving import Serving

    serving: Serving = app.state.serving

    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    url = f"http://{host}:{sockets[0].getsockname()[1]}"

    class DrainingServer(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            _logger.info("running on %s (Ctrl-C ends it)", url)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            serving.draining = True
            _logger.info("shutting down, up to %d s after what runs", arguments.drain_timeout)
            await super().shutdown(sockets)
            if self.force_exit:  # then uvicorn leaves the application as it is
                await self.lifespan.shutdown()

    server = DrainingServer(
        uvicorn.Config(
            app,
            host=arguments.host,
            port=arguments.port,
            http=limited_connection(_connection_limits(arguments)),
            ws="none",
            backlog=BACKLOG,
            timeout_keep_alive=arguments.keep_alive_timeout,
            timeout_graceful_shutdown=arguments.drain_timeout,
            access_log=arguments.access_log,
            log_config=log_config(arguments.log_level, access_log=arguments.access_log),
            server_header=False,
        )
    )
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        server.should_exit = True

    # uvicorn has handlers of its own while it runs, and raises the signals again when it is done.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run(sockets)
    return INTERRUPTED if signal.SIGINT in received else 0


def _add_access(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--api-key", action="append", default=[],
        help=f"key that opens the API; repeat it for several, or list them in {API_KEY_VARIABLE}",
    )  # fmt: skip
    group.add_argument(
        "--allowed-origin", action="append", default=[], metavar="ORIGIN",
        help="origin whose pages may call the server; repeat it for several; * is any",
    )  # fmt: skip


def _add_limits(group: argparse._ArgumentGroup) -> None:
    for flag, default, explained in (
        ("--max-waiting", 1024, "sequences in the queue of a model; more get 429"),
        ("--max-body-bytes", 8 << 20, "longest request body"),
        ("--max-header-bytes", 64 << 10, "longest request line and headers"),
        ("--max-connections", 4096, "open connections; further ones are closed immediately"),
        # Longer than clients keep idle connections: one that closes first loses no request.
        ("--keep-alive-timeout", 75, "seconds an idle connection stays open"),
        ("--drain-timeout", 60, "seconds that running requests have to finish after SIGTERM"),
    ):
        group.add_argument(flag, type=_positive, default=default, help=f"{explained} [{default}]")
    for flag, seconds, explained in (
        ("--request-timeout", 600.0, "seconds for an answer; the work is cancelled then"),
        ("--body-timeout", 30.0, "seconds for a body to arrive"),
        ("--header-timeout", 15.0, "seconds for headers to arrive"),
        ("--write-timeout", 60.0, "seconds a client may read nothing of its answer"),
        ("--stall-timeout", 60.0, "seconds without a step after which /health fails"),
    ):
        group.add_argument(flag, type=float, default=seconds, help=f"{explained} [{seconds:g}]")
    group.add_argument(
        "--max-requests-per-client",
        type=_positive,
        help="open requests per API key, or per address without keys",
    )


def _add_engine(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--device", choices=DEVICES, default="cpu")
    group.add_argument("--dtype", choices=DTYPES, default="auto")
    group.add_argument("--kv-layout", choices=KV_LAYOUTS, default="block")
    group.add_argument("--attention-backend", choices=ATTENTION_BACKENDS, default="native")
    group.add_argument(
        "--linear-backend", choices=LINEAR_BACKENDS, default="auto",
        help="fused kernels where one takes a batch, or the primitive operators always [auto]",
    )  # fmt: skip
    group.add_argument("--max-model-len", type=_positive)
    group.add_argument("--max-num-seqs", type=_positive, default=256)
    group.add_argument(
        "--max-num-batched-tokens", type=_positive,
        help="tokens of one step [8192 on a GPU, 2048 on the CPU]",
    )  # fmt: skip
    group.add_argument(
        "--max-tpot-ms", type=float, metavar="MS",
        help="most milliseconds between two tokens of an answer: prompts get the time that is left",
    )  # fmt: skip
    group.add_argument(
        "--kv-capacity-tokens", type=_positive,
        help="tokens in the KV cache of each model; needed with several on one device",
    )  # fmt: skip
    group.add_argument(
        "--kv-memory", metavar="SHARE|SIZE",
        help="memory for the KV cache of each model: a share of what is free, 0.8, or 6GiB",
    )  # fmt: skip
    group.add_argument("--num-threads", type=_positive)
    group.add_argument("--seed", type=int, default=0)


def _settings(arguments: argparse.Namespace) -> ServerSettings:
    from stagegate.server.http.settings import ServerSettings

    return ServerSettings(
        api_keys=(*arguments.api_key, *os.environ.get(API_KEY_VARIABLE, "").split()),
        allowed_origins=tuple(arguments.allowed_origin),
        max_body_bytes=arguments.max_body_bytes,
        body_timeout_s=arguments.body_timeout,
        request_timeout_s=arguments.request_timeout,
        max_requests_per_client=arguments.max_requests_per_client,
        stall_s=arguments.stall_timeout,
        reasoning=arguments.reasoning,
        open_schemas=arguments.open_schemas,
    )


def _connection_limits(arguments: argparse.Namespace) -> ConnectionLimits:
    from stagegate.server.http.connection import ConnectionLimits

    return ConnectionLimits(
        max_connections=arguments.max_connections,
        max_header_bytes=arguments.max_header_bytes,
        header_timeout_s=arguments.header_timeout,
        write_timeout_s=arguments.write_timeout,
    )


def _folders(arguments: argparse.Namespace) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for name, folder in map(_name_and_folder, arguments.model):
        if name in folders:
            msg = f"--model: two models are called {name!r}; name one with NAME=DIR"
            raise ConfigError(msg)
        folders[name] = folder
    return folders


def _load(arguments: argparse.Namespace, folders: dict[str, Path]) -> dict[str, AsyncLLM]:
    from stagegate.async_llm import AsyncLLM
    from stagegate.build import build_engine

    models: dict[str, AsyncLLM] = {}
    for name, folder in folders.items():
        config = EngineConfig(
            model=folder,
            device=arguments.device,
            dtype=arguments.dtype,
            kv_layout=arguments.kv_layout,
            attention_backend=arguments.attention_backend,
            linear_backend=arguments.linear_backend,
            max_model_len=arguments.max_model_len,
            max_num_seqs=arguments.max_num_seqs,
            max_num_batched_tokens=arguments.max_num_batched_tokens,
            max_tpot_ms=arguments.max_tpot_ms,
            kv_capacity_tokens=arguments.kv_capacity_tokens,
            kv_memory=kv_memory_from_text(arguments.kv_memory),
            num_threads=arguments.num_threads,
            seed=arguments.seed,
        )
        engine = build_engine(config)
        _logger.info("%s is loaded from %s\n%s", name, folder, engine.memory_table())
        models[name] = AsyncLLM(engine, max_waiting=arguments.max_waiting)
    return models


def _name_and_folder(stated: str) -> tuple[str, Path]:
    """Split NAME=DIR; a folder whose name contains an equals sign is used as it is."""
    name, separator, folder = stated.partition("=")
    if separator and name and not Path(stated).is_dir():
        return name, Path(folder)
    return Path(stated).resolve().name, Path(stated)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 65535:
        msg = f"{text!r} is not a port: a whole number from 0 to 65535"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        msg = f"{text!r} is not a positive whole number"
        raise argparse.ArgumentTypeError(msg)
    return int(text)
