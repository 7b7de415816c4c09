"""Engines that are compared, each in a process and an interpreter of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from stagegate_baselines.records import Scalar

DRIVERS = Path(__file__).parent / "drivers"
# What an engine gets to end by itself.
_END_SECONDS = 60
_LOG_LINES = 20


class PeerError(RuntimeError):
    """An engine cannot do what it was asked; the message says what it said."""


class NotInstalledError(PeerError):
    """The interpreter of an engine lacks it."""


@dataclass(frozen=True)
class Setup:
    """What every engine of a comparison is started with.

    device: "cpu" or "cuda". max_model_len: tokens of the longest sequence.
    """

    model: Path
    device: str
    max_model_len: int
    num_threads: int


class Peer(Protocol):
    """An engine that can be started."""

    @property
    def name(self) -> str: ...

    def start(self, setup: Setup) -> RunningPeer:
        """Raises PeerError where it does not become ready."""


class RunningPeer(Protocol):
    """startup_s: until it was ready, with its imports. setup: its versions and settings."""

    startup_s: float
    setup: dict[str, Scalar]

    @property
    def is_alive(self) -> bool:
        """False once it has ended, by itself or by `end`."""

    def generate(self, prompts: Sequence[Sequence[int]], max_tokens: Sequence[int]) -> float:
        """Seconds in which every prompt got as many tokens. Raises PeerError."""

    def end(self) -> None:
        """Wait until the engine and its memory are gone."""


@dataclass(frozen=True)
class OfflinePeer:
    """An engine behind a driver (drivers/engine_driver.py). log: where its own words go."""

    name: str
    driver: Path
    python: Path
    log: Path

    def check(self) -> None:
        """Raises NotInstalledError, and PeerError for an interpreter that cannot be run."""
        with self.log.open("ab") as log:
            try:
                done = subprocess.run(
                    [str(self.python), str(self.driver)],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, check=False,
                )  # fmt: skip
            except OSError as error:
                msg = f"{self.python} cannot be run: {error.strerror}; --peer-python names another"
                raise PeerError(msg) from error
        if done.stdout:
            msg = f"{json.loads(done.stdout)['missing']} ({self.python})"
            raise NotInstalledError(msg)
        if done.returncode:
            msg = f"{self.driver.name} ended with {done.returncode}; {self.log} says why"
            raise PeerError(msg)

    def start(self, setup: Setup) -> RunningDriver:
        return RunningDriver(self, setup)


class RunningDriver:
    """A process with an engine that is ready."""

    def __init__(self, peer: OfflinePeer, setup: Setup) -> None:
        self._peer = peer
        self._log: IO[bytes] = peer.log.open("ab")
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [str(peer.python), str(peer.driver)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,  # so that what it starts can be ended with it
        )
        try:
            answer = self._ask({**asdict(setup), "model": str(setup.model)})
            self.setup: dict[str, Scalar] = answer["setup"]
        except BaseException:
            self.end()
            raise
        self.startup_s = time.perf_counter() - started

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def generate(self, prompts: Sequence[Sequence[int]], max_tokens: Sequence[int]) -> float:
        answer = self._ask({"prompts": prompts, "max_tokens": max_tokens})
        if answer["lengths"] != list(max_tokens):
            msg = f"{self._peer.name} made {answer['lengths']} tokens, and was to make {max_tokens}"
            raise PeerError(msg)
        return float(answer["seconds"])

    def end(self) -> None:
        process = self._process
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        self._log.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with suppress(BrokenPipeError):  # then there is no answer either
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
        line = stdout.readline()
        if not line:
            with suppress(subprocess.TimeoutExpired):  # it is about to end
                self._process.wait(_END_SECONDS)
            tail = self._peer.log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]
            msg = "\n".join([f"{self._peer.name} ended without an answer; its last words:", *tail])
            raise PeerError(msg)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            msg = f"{self._peer.name}: {answer['error']} (all of it is in {self._peer.log})"
            raise PeerError(msg)
        return answer


# By name, the driver of each engine. An engine that serves would have another one.
OFFLINE_DRIVERS = {
    name: DRIVERS / f"{name}_driver.py" for name in ("stagegate", "vllm", "transformers")
}
