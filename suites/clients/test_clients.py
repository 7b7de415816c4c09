"""Clients work with the server as they are."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from suites.clients.client import (
    DRIVERS,
    Client,
    Outcome,
    ServedModel,
    install,
    load_clients,
    run_driver,
)

CLIENTS = load_clients()


def check(outcome: Outcome) -> None:
    failed = [f"{name}:\n{error}" for name, error in outcome.errors.items() if error is not None]
    assert not failed, "\n\n".join(failed)


def test_openai_python_of_this_environment_works_unmodified(served: ServedModel) -> None:
    check(run_driver([sys.executable, str(DRIVERS / "openai_client.py")], served))


@pytest.mark.clients
@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_client_works_unmodified(
    client: Client, served: ServedModel, outcomes: dict[str, Outcome]
) -> None:
    if client.runtime == "node" and shutil.which("npm") is None:
        pytest.fail("Node.js with npm is missing; install it (Debian: apt-get install nodejs npm)")
    outcomes[client.name] = run_driver(install(client), served)
    check(outcomes[client.name])


def test_every_driver_belongs_to_a_client() -> None:
    drivers = {path.name for path in DRIVERS.glob("*_client.*")}
    assert drivers == {client.driver for client in CLIENTS.values()}


DRIVER = """
import sys
sys.path.insert(0, {folder!r})
from checks import check, run

@check
def passes(): pass

@check
def fails(): raise ValueError("no such answer")

run("numpy")
"""


@pytest.fixture
def nowhere(tmp_path: Path) -> ServedModel:
    return ServedModel("http://127.0.0.1:9/v1", "none", tmp_path)


def test_a_failed_check_is_reported_beside_those_that_pass(
    tmp_path: Path, nowhere: ServedModel
) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(folder=str(DRIVERS)))
    outcome = run_driver([sys.executable, str(script)], nowhere)
    assert outcome.errors["passes"] is None
    assert "no such answer" in (outcome.errors["fails"] or "")
    assert outcome.versions.keys() == {"numpy"}
    with pytest.raises(AssertionError, match="no such answer"):
        check(outcome)


@pytest.mark.parametrize("source", ["print('nothing')", "raise SystemExit(3)"])
def test_a_driver_without_checks_is_an_error(
    tmp_path: Path, nowhere: ServedModel, source: str
) -> None:
    script = tmp_path / "driver.py"
    script.write_text(source)
    with pytest.raises(RuntimeError, match="ended with"):
        run_driver([sys.executable, str(script)], nowhere)
