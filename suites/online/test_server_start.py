"""Start-up errors are one line, before any slow work; Ctrl-C gives no traceback."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from stagegate.errors import ConfigError
from stagegate.server.http import packages
from stagegate.server.http.listener import bind, listen

ROOT = Path(__file__).parents[2]
TINY = ("--num-threads", "1", "--kv-capacity-tokens", "4096")

# The engine's command where some packages cannot be imported.
BLOCKED = """
import sys
blocked = sys.argv.pop(1).split(",")
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Finder())
module = sys.argv.pop(1)
import runpy
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
LOAD_USAGE = ("suites.online.load", "--url", "http://127.0.0.1:1", "--model", "m", "--rate", "1",
              "--requests", "1")  # fmt: skip


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )


def the_error(done: subprocess.CompletedProcess[str], status: int = 1) -> str:
    assert done.returncode == status, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_the_packages_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = {re.split(r"[><=]", line)[0] for line in project["optional-dependencies"]["server"]}
    assert stated == packages.REQUIRED.keys() | packages.OPTIONAL.keys()


@pytest.mark.parametrize("package", packages.REQUIRED)
def test_a_missing_package_is_named(model_path: Path, package: str) -> None:
    module = packages.REQUIRED[package]
    line = the_error(run("-c", BLOCKED, module, "stagegate", "serve", "--model", str(model_path)))
    assert package in line
    assert "pip install '.[server]' (nox -s serve does)" in line


def test_all_missing_packages_are_named(model_path: Path) -> None:
    blocked = ",".join((packages.REQUIRED | packages.OPTIONAL).values())
    line = the_error(run("-c", BLOCKED, blocked, "stagegate", "serve", "--model", str(model_path)))
    for package in packages.REQUIRED:
        assert package in line


def test_what_a_package_needs_itself_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] in {"starlette", "fastapi"}:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(ConfigError, match=r"fastapi \(.*starlette"):
        packages.check_packages()


@pytest.mark.parametrize("module", packages.OPTIONAL.values())
def test_without_an_optional_package_it_serves(model_path: Path, module: str) -> None:
    with server("-c", BLOCKED, module, "stagegate", "serve", "--model", str(model_path)) as (
        url,
        _,
    ):
        body = {"prompt": "Alice", "max_tokens": 1}
        assert httpx.post(f"{url}/v1/completions", json=body).status_code == 200
        guided = httpx.post(f"{url}/v1/completions", json=body | {"guided_regex": "a"})
        assert guided.status_code == (400 if module == "llguidance" else 200)
        assert (module in guided.text) == (module == "llguidance")


def test_the_load_generator_names_what_it_lacks() -> None:
    line = the_error(run("-c", BLOCKED, "aiohttp", *LOAD_USAGE))
    assert "aiohttp" in line
    assert "pip install -e '.[test]'" in line


def test_the_other_commands_need_none_of_them(model_path: Path) -> None:
    blocked = ",".join((packages.REQUIRED | packages.OPTIONAL).values())
    generate = ("stagegate", "generate", "--model", str(model_path), "--prompt", "Alice",
                "--max-tokens", "1")  # fmt: skip
    assert run("-c", BLOCKED, blocked, *generate).returncode == 0
    doctor = run("-c", BLOCKED, blocked, "stagegate", "doctor").stdout
    for package in packages.REQUIRED | packages.OPTIONAL:
        assert f" {package}" in doctor


@pytest.mark.parametrize("command", ["serve", "generate"])
def test_a_missing_package_of_the_engine_leads_to_the_doctor(
    model_path: Path, command: str
) -> None:
    prompt = ("--prompt", "x") if command == "generate" else ()
    arguments = ("stagegate", command, "--model", str(model_path), *prompt)
    line = the_error(run("-c", BLOCKED, "tokenizers", *arguments))
    assert "tokenizers" in line
    assert "stagegate doctor" in line


@pytest.mark.parametrize("port", ["-1", "65536", "99999", "8000.0", "x", "", "٣"])
def test_a_port_that_is_none(port: str) -> None:
    done = run("-m", "stagegate", "serve", "--model", "x", f"--port={port}")
    assert done.returncode == 2
    assert f"{port!r} is not a port: a whole number from 0 to 65535" in done.stderr


# The folder would be refused when it is read.
UNREAD = ("-m", "stagegate", "serve", "--model", "no-such-folder")


def test_a_port_in_use_is_found_before_the_model_is_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = the_error(run(*UNREAD, "--port", port))
    assert f"--port {port}: another process listens at 127.0.0.1" in line


def test_a_limit_of_time_that_is_none(model_path: Path) -> None:
    serve = ("-m", "stagegate", "serve", "--model", str(model_path), "--port", "0", *TINY)
    line = the_error(run(*serve, "--max-tpot-ms", "0"))
    assert "max_tpot_ms must be a positive number of milliseconds" in line
    assert line.endswith("got 0.0")


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "300.1.1.1", "::2", "a b"])
def test_a_host_that_is_not_here_is_found_before_the_model_is_read(host: str) -> None:
    assert f"--host {host}: " in the_error(run(*UNREAD, "--port", "0", "--host", host))


def test_a_folder_that_is_no_checkpoint_says_what_one_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    line = the_error(run("-m", "stagegate", "serve", "--model", str(tmp_path), "--port", "0"))
    assert f"{tmp_path} is no checkpoint: it has no config.json" in line
    assert "hf download" in line


def test_sockets_share_a_port_and_refuse_until_they_listen() -> None:
    sockets = bind("localhost", 0)
    try:
        [port] = {bound.getsockname()[1] for bound in sockets}
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        listen(sockets)
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(ConfigError, match=f"--port {port}: another process"):
            bind("127.0.0.1", port)
    finally:
        for bound in sockets:
            bound.close()


def test_who_listens_later_on_the_same_port_is_refused() -> None:
    [first] = bind("127.0.0.1", 0)
    with first:
        port = first.getsockname()[1]
        [second] = bind("127.0.0.1", port)  # neither listens yet
        with second:
            listen([first])
            with pytest.raises(ConfigError, match=f"--port {port}: another process"):
                listen([second])


def test_an_empty_host_is_every_address() -> None:
    sockets = bind("", 0)
    try:
        assert {"0.0.0.0", "::"} & {bound.getsockname()[0] for bound in sockets}
    finally:
        for bound in sockets:
            bound.close()


@contextmanager
def server(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server process; its attribute `written` collects its output."""
    command = [sys.executable, *arguments, "--port", "0", *TINY]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if found := re.search(r"running on (http://\S+)", line):
                    break
            else:
                pytest.fail("the server did not start")
            yield found[1], process
        finally:
            process.kill()


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    assert process.stderr is not None
    written = process.stderr.read()
    return process.wait(timeout=20), written


@pytest.mark.criterion("s0.online", "s4.online")
@pytest.mark.tiny_model  # a large model takes minutes for requests that are open long enough
@pytest.mark.parametrize(
    ("signals", "drain", "status"),
    [
        ([signal.SIGINT], "60", 130),
        ([signal.SIGINT], "1", 130),
        ([signal.SIGINT] * 2, "60", 130),
        ([signal.SIGTERM], "1", 0),
    ],
)
def test_a_signal_with_requests_open_ends_them_without_a_traceback(
    model_path: Path, signals: list[signal.Signals], drain: str, status: int
) -> None:
    waits = drain == "60" and len(signals) == 1
    choices = 1 if waits else 32
    body = {"prompt": "Alice was", "ignore_eos": True, "max_tokens": 1900, "n": choices}
    answers: dict[bool, httpx.Response] = {}

    def ask(url: str, *, stream: bool) -> None:
        fields = body | {"stream": stream}
        answers[stream] = httpx.post(f"{url}/v1/completions", json=fields, timeout=300)

    arguments = ("-m", "stagegate", "serve", "--model", str(model_path), "--drain-timeout", drain)
    with server(*arguments) as (url, process):
        clients = [
            threading.Thread(target=ask, args=(url,), kwargs={"stream": stream})
            for stream in (True, False)
        ]
        for client in clients:
            client.start()
        deadline = time.monotonic() + 10
        while True:  # until both are there
            [stats] = httpx.get(f"{url}/v1/stats").json()["models"].values()
            if stats["running"] + stats["waiting"] > choices:
                break
            assert time.monotonic() < deadline
        for number in signals:
            process.send_signal(number)
            time.sleep(0.2)
        ended, written = end_of(process)
        for client in clients:
            client.join(timeout=10)
    assert ended == status
    assert "Traceback" not in written
    assert "Error" not in written
    if waits:
        assert answers[False].status_code == 200
        assert answers[True].text.endswith("data: [DONE]\n\n")
    elif len(signals) == 1:  # cut off, and told so
        assert answers[False].status_code == 503
        assert answers[True].status_code == 200
        assert '"code": "engine_dead"' in answers[True].text.splitlines()[-2]
        assert "[DONE]" not in answers[True].text


LOADING = """
import os, signal, sys, threading
from stagegate.execution import worker
from stagegate.__main__ import main
def interrupted(*_):
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(10)
worker.load_weights = interrupted
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("generate", "--prompt", "x")])
def test_ctrl_c_while_loading(model_path: Path, command: tuple[str, ...]) -> None:
    name, *flags = command
    done = run("-c", LOADING, name, "--model", str(model_path), *flags)
    assert (done.returncode, done.stderr, done.stdout) == (130, "interrupted\n", "")
