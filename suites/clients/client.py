"""A client of the server: its environment, and the run of its driver."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DRIVERS = Path(__file__).parent / "drivers"
ENVIRONMENTS = ROOT / ".nox" / "client-environments"
# Clients that ask a hub or a price list when they start would wait for a network.
OFFLINE = {
    "AIDER_ANALYTICS_DISABLE": "true",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
}
# The slowest has to start, import its libraries and run all its checks on a busy machine.
TIMEOUT_S = 600


@dataclass(frozen=True)
class Client:
    """runtime: python or node. packages: what is installed. driver: the script in drivers/."""

    name: str
    runtime: str
    packages: tuple[str, ...]
    driver: str


@dataclass(frozen=True)
class ServedModel:
    """url: with /v1. path: the checkpoint folder, for clients that count tokens."""

    url: str
    name: str
    path: Path


@dataclass(frozen=True)
class Outcome:
    """versions: package to version. errors: each check to its traceback, None when it passed."""

    versions: dict[str, str]
    errors: dict[str, str | None]


def load_clients() -> dict[str, Client]:
    """The clients of clients.toml by name."""
    tables = tomllib.loads((Path(__file__).parent / "clients.toml").read_text("utf-8"))
    return {
        name: Client(name, table["runtime"], tuple(table["packages"]), table["driver"])
        for name, table in tables.items()
    }


def install(client: Client) -> list[str]:
    """Make the client's environment unless it is complete; gives the command that runs a driver.

    Raises subprocess.CalledProcessError when an installation fails.
    """
    folder = ENVIRONMENTS / client.name
    complete = folder / "complete.json"
    wanted = json.dumps([sys.version, client.runtime, *client.packages])
    if not complete.exists() or complete.read_text("utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if client.runtime == "python":
            venv.create(folder, with_pip=True)
            _run([folder / "bin" / "python", "-m", "pip", "install", "-q", *client.packages])
        else:
            (folder / "package.json").write_text('{"private": true}', "utf-8")
            _run(["npm", "install", "--silent", "--no-audit", *client.packages], cwd=folder)
        complete.write_text(wanted, "utf-8")
    if client.runtime == "python":
        return [str(folder / "bin" / "python"), str(DRIVERS / client.driver)]
    # Node looks for packages beside the script, not where the command is run.
    for script in DRIVERS.glob("*.mjs"):
        shutil.copy(script, folder)
    return ["node", str(folder / client.driver)]


def run_driver(command: list[str], model: ServedModel) -> Outcome:
    """Run a driver against a server. Raises RuntimeError when it ends without its last check."""
    environment = os.environ | OFFLINE | {
        "STAGEGATE_URL": model.url,
        "STAGEGATE_MODEL": model.name,
        "STAGEGATE_MODEL_PATH": str(model.path),
    }  # fmt: skip
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    versions: dict[str, str] = {}
    errors: dict[str, str | None] = {}
    for line in done.stdout.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # some clients print
        if not isinstance(event, dict):
            continue
        versions |= event.get("versions", {})
        if "check" in event:
            errors[event["check"]] = event["error"]
    if done.returncode or not errors:
        msg = f"{command[-1]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        raise RuntimeError(msg)
    return Outcome(versions, errors)


def _run(command: list[str | Path], cwd: Path | None = None) -> None:
    subprocess.run(command, cwd=cwd, check=True)
