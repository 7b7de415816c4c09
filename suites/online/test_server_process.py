"""stagegate serve as a process: start, signals, killed clients."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from suites.online.event_stream import payloads_of
from suites.online.server_process import server_process

pytestmark = pytest.mark.criterion("s0.online", "s4.online")

SMALL = ("--kv-capacity-tokens", "4096", "--num-threads", "1")
LONG = {"prompt": "Alice was", "max_tokens": 200, "ignore_eos": True, "stream": True}


def test_sigterm_lets_streams_end(model_path: Path, device: str, kv_layout: str) -> None:
    flags = (*SMALL, "--drain-timeout", "300")
    with (
        server_process(model_path, device, kv_layout, *flags) as (url, pid),
        httpx.stream("POST", f"{url}/v1/completions", json=LONG, timeout=300) as response,
    ):
        assert response.status_code == 200
        os.kill(pid, signal.SIGTERM)
        refused_by = time.monotonic() + 5
        while True:
            try:
                httpx.get(f"{url}/ready")
            except httpx.TransportError:  # refused, or dropped in the instant of closing
                break
            assert time.monotonic() < refused_by
        payloads = list(payloads_of(response))
        assert payloads[-1] == "[DONE]"
        assert '"finish_reason":"length"' in payloads[-2]
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0


def test_streams_are_cut_off_when_the_time_to_drain_is_over(
    model_path: Path, device: str, kv_layout: str
) -> None:
    with server_process(model_path, device, kv_layout, *SMALL, "--drain-timeout", "1") as (
        url,
        pid,
    ):
        fields = LONG | {"n": 64, "max_tokens": 1500}
        with httpx.stream("POST", f"{url}/v1/completions", json=fields, timeout=300) as response:
            os.kill(pid, signal.SIGTERM)
            started = time.monotonic()
            payloads = list(payloads_of(response))
            assert time.monotonic() - started < 5
            assert json.loads(payloads[-1])["error"]["code"] == "engine_dead"
            assert "[DONE]" not in payloads
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0


CLIENT = """
import httpx, sys
with httpx.stream("POST", sys.argv[1] + "/v1/completions", timeout=300,
                  json={"prompt": "Alice was", "max_tokens": 1900, "ignore_eos": True,
                        "stream": True}) as response:
    for _ in response.iter_bytes():
        print("one", flush=True)
"""


def test_killed_clients_leave_nothing(model_path: Path, device: str, kv_layout: str) -> None:
    fields = {"prompt": "Alice was", "temperature": 0}
    with server_process(model_path, device, kv_layout, *SMALL) as (url, _):
        before = httpx.post(f"{url}/v1/completions", json=fields, timeout=300).json()
        clients = [
            subprocess.Popen([sys.executable, "-c", CLIENT, url], stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "one\n"
            client.kill()
        for client in clients:
            client.communicate()
        deadline = time.monotonic() + 5
        while True:
            stats = httpx.get(f"{url}/v1/stats").json()["models"]["tiny"]
            if stats["running"] == stats["kv_used_tokens"] == 0:
                break
            assert time.monotonic() < deadline, stats
        after = httpx.post(f"{url}/v1/completions", json=fields, timeout=300).json()
        assert after["choices"] == before["choices"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "no-such-folder"], "no such folder"),
        (["--model", "{model}", "--model", "{model}"], "two models are called"),
        (["--model", "{model}", "--api-key", ""], "API key must not be empty"),
        (["--model", "{model}", "--request-timeout", "0"], "request_timeout_s must be positive"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    model_path: Path, flags: list[str], message: str
) -> None:
    filled = [flag.format(model=model_path) for flag in flags]
    done = subprocess.run(
        [sys.executable, "-m", "stagegate", "serve", *filled],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("error:")
    assert message in line


@pytest.mark.parametrize("flags", [[], ["--model", "x", "--max-waiting", "0"]])
def test_wrong_usage(flags: list[str]) -> None:
    command = [sys.executable, "-m", "stagegate", "serve", *flags]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
