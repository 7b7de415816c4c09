"""What is known of machine and software, and what must not be."""

from __future__ import annotations

import getpass
import json
import socket
from pathlib import Path

import pytest

from stagegate_baselines import fingerprint
from stagegate_baselines.anonymous import anonymous
from stagegate_baselines.records import Machine

ROOT = Path(__file__).parents[2]


def test_nothing_personal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("HOME_OF_NOBODY", "/home/nobody")
    environment = fingerprint.environment(ROOT, num_threads=2)
    text = fingerprint.machine().model_dump_json() + environment.model_dump_json()
    words = [socket.gethostname(), str(Path.home()), str(ROOT), "/home/nobody"]
    # A user called root is nobody in particular, and the word may be part of another.
    words += [name] if len(name := getpass.getuser()) > 4 else []
    for word in words:
        assert word not in text
    assert environment.variables["OMP_NUM_THREADS"] == "2"


def test_a_key_follows_what_it_stands_for() -> None:
    machine = fingerprint.machine()
    assert fingerprint.digest(machine) == fingerprint.digest(fingerprint.machine())
    larger = machine.model_copy(update={"memory_bytes": 2 * machine.memory_bytes})
    assert fingerprint.digest(larger) != fingerprint.digest(machine)
    restored = Machine.model_validate(json.loads(machine.model_dump_json()))
    assert fingerprint.digest(restored) == fingerprint.digest(machine)


def test_the_build_and_the_packages_of_a_project_are_named() -> None:
    build = {"compiler": "GCC 12", "cuda": None, "cores": 8}
    environment = fingerprint.environment(
        ROOT, num_threads=1, build=build, packages=["pluggy", "no-such-package"]
    )
    assert (environment.compiler, environment.build_type) == ("GCC 12", "unknown")
    assert {"numpy", "pluggy"} <= environment.packages.keys()
    assert "no-such-package" not in environment.packages


def test_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    environment = fingerprint.environment(tmp_path, num_threads=1)
    assert environment.git_revision is None
    assert environment.git_dirty is None


def test_a_model_is_its_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = fingerprint.model_digest(tmp_path)
    (tmp_path / "README.md").write_text("words")
    assert fingerprint.model_digest(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"weighty")
    assert fingerprint.model_digest(tmp_path) != before


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("no config.json in /home/ada/models/tiny", "no config.json in tiny"),
        ("'/tmp/pytest-of-ada/x.json': gone", "'x.json': gone"),
        ("test_it[/srv/models/a-b]", "test_it[a-b]"),
        ("~/models/tiny", "tiny"),
        ("suites/core/test_it.py::test_it", "suites/core/test_it.py::test_it"),
        ("3 tokens/s, and 1/2 of https://docs.python.org/3/", None),
        ("/", None),
    ],
)
def test_folders_are_not_published(text: str, published: str | None) -> None:
    assert anonymous(text) == (published or text)


def test_the_host_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "ada.example")
    assert anonymous("on ada.example, not adaXexample") == "on host, not adaXexample"


def test_addresses_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCCL_COMM_ID", "192.0.2.1:80")
    monkeypatch.setenv("NCCL_TOPO_FILE", "/home/ada/topology.xml")
    variables = fingerprint.environment(ROOT, num_threads=1).variables
    assert "NCCL_COMM_ID" not in variables
    assert variables["NCCL_TOPO_FILE"] == "topology.xml"
