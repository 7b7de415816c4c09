"""What sessions refuse before they install or build anything, and what they are given."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from stagegate_baselines.path_arguments import absolute_paths

nox = pytest.importorskip("nox")
ROOT = Path(__file__).parents[2]


def load_noxfile() -> ModuleType:
    nox.registry._REGISTRY.clear()  # a session may be registered once
    specification = importlib.util.spec_from_file_location("noxfile", ROOT / "noxfile.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def noxfile() -> ModuleType:
    return load_noxfile()


class FakeSession(SimpleNamespace):
    """A session that ends where a real one does, and notes what it warns of."""

    def __init__(self, **state: Any) -> None:
        super().__init__(**{"venv_backend": "virtualenv", "warnings": []} | state)

    def error(self, words: str) -> None:
        raise RuntimeError(words)

    def warn(self, words: str) -> None:
        self.warnings.append(words)


def run_nox(folder: Path, *arguments: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nox", "-f", str(ROOT / "noxfile.py"), "--no-venv", *arguments],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, **variables},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["suite", "--", "stage9"],
        ["gate", "--", "stage9", "--launches", "2"],
        ["baseline", "--", "measure", "stage9"],
    ],
)
def test_an_unknown_stage_is_refused_at_once(tmp_path: Path, arguments: list[str]) -> None:
    said = run_nox(tmp_path, "-s", *arguments)
    assert "unknown stage 'stage9'; known: stage0, stage1," in said
    assert not list((ROOT / "reports" / "out").glob("*stage9*"))


@pytest.mark.parametrize(
    ("variables", "lacking"),
    [({"CXX": ""}, "no C++ compiler"), ({"CXX": "g++-99 -m64"}, "CXX=g++-99 does not exist")],
)
def test_a_missing_compiler_is_named(
    tmp_path: Path, variables: dict[str, str], lacking: str
) -> None:
    said = run_nox(tmp_path, "-s", "build", PATH=str(tmp_path), **variables)
    assert f"{lacking}: apt install g++" in said
    assert "nox -s doctor" in said


def test_a_build_that_fails_points_to_the_doctor(noxfile: ModuleType) -> None:
    with (
        pytest.raises(RuntimeError, match="nox -s doctor"),
        noxfile.doctor_on_failure(FakeSession()),
    ):
        raise nox.command.CommandFailed


def test_an_old_python_is_refused_before_anything_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer.*venv --clear"):
        load_noxfile()


def test_a_checkout_that_cannot_be_written_to_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(sys, "argv", ["nox", "-s", "build"])
    with pytest.raises(SystemExit, match="cannot be written to"):
        load_noxfile()
    monkeypatch.setattr(sys, "argv", ["nox", "-s", "doctor"])
    load_noxfile()


def environment(folder: Path, version: str) -> SimpleNamespace:
    location = folder / "environment"
    location.mkdir()
    (location / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {version}\n")
    return SimpleNamespace(location=str(location), create=location.mkdir)


def test_an_environment_of_another_python_is_made_again(
    noxfile: ModuleType, tmp_path: Path
) -> None:
    session = FakeSession(virtualenv=environment(tmp_path, "3.9.18"))
    noxfile.renew_environment(session)
    assert not (tmp_path / "environment" / "pyvenv.cfg").exists()
    [warning] = session.warnings
    assert "is of Python 3.9, nox runs on 3." in warning


@pytest.mark.parametrize("version", [f"{sys.version_info.major}.{sys.version_info.minor}.0"])
@pytest.mark.parametrize("backend", ["virtualenv", "venv", "uv"])
def test_an_environment_of_this_python_stays(
    noxfile: ModuleType, tmp_path: Path, version: str, backend: str
) -> None:
    session = FakeSession(virtualenv=environment(tmp_path, version), venv_backend=backend)
    noxfile.renew_environment(session)
    assert (tmp_path / "environment" / "pyvenv.cfg").exists()
    assert session.warnings == []


def test_paths_are_those_of_the_caller(noxfile: ModuleType) -> None:
    session = FakeSession(
        posargs=["stage0", "--model-path", "some models/m", "suites/ops"], invoked_from="/home/ada"
    )
    assert noxfile.paths_of_the_caller(session) == [
        "stage0", "--model-path=/home/ada/some models/m", "suites/ops",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model-path", "m"], ["--model-path=/here/m"]),
        (["--model-path=m"], ["--model-path=/here/m"]),
        (["--model-path", "../a b"], ["--model-path=/here/../a b"]),
        (["--model-path=/m=1"], ["--model-path=/m=1"]),
        (["--model-path", "~/m"], ["--model-path=/home/ada/m"]),
        (["--benchmark-json", "r.json", "-k", "m"], ["--benchmark-json=/here/r.json", "-k", "m"]),
        (["--gate", "a", "--gate", "b"], ["--gate=/here/a", "--gate=/here/b"]),
        (["--peer-python", "v/bin/python"], ["--peer-python=/here/v/bin/python"]),
        (["--model-path"], ["--model-path"]),
        (["--kv-layout", "slot", "--stage=stage0"], ["--kv-layout", "slot", "--stage=stage0"]),
    ],
)
def test_absolute_paths(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: list[str]
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert absolute_paths(arguments, Path("/here")) == expected


def test_a_record_is_named_by_its_parts(noxfile: ModuleType) -> None:
    arguments = ["--kv-layout", "slot", "--model-path=/models/Qwen2.5-0.5B"]
    assert noxfile.record_of("stage0", arguments).name == "stage0-slot-Qwen2-5-0-5B.json"
    assert noxfile.record_of("stage0", []).name == "stage0.json"


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["tests"], "build"),
        (["suite", "--", "stage0"], "build"),
        (["suite", "--", "stage3"], "build-cuda"),
        (["tests", "--", "--device", "nvidia"], "build-cuda"),
        (["serve", "--", "--device=cuda"], "build-cuda"),
        (["compare", "--", "--peer", "transformers"], "build"),
        (["compare", "--", "--peer", "vllm"], "build-cuda"),
        (["compare", "--", "--peer=vllm", "--device", "cpu"], "build"),
    ],
)
def test_sessions_share_the_environment_of_a_build(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], environment: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["nox", "-s", *arguments])
    load_noxfile()
    sessions = nox.registry.get()
    runs_engine = {name for name, session in sessions.items() if session.requires}
    assert runs_engine >= {"serve", "suite", "tests", "bench", "soak", "clients", "gate"}
    for name in runs_engine - {"sanitize"}:
        assert sessions[name].requires == [environment]
        assert sessions[name].venv_backend == "none"


@pytest.mark.parametrize(
    ("arguments", "tolerated"),
    [
        (["stage0"], [0, 3, 4]),
        (["stage0", "--strict"], [0]),
        (["stage0", "--", "--strict"], [0, 3, 4]),  # pytest's
    ],
)
def test_a_strict_gate_passes_on_nothing_but_a_pass(
    noxfile: ModuleType, arguments: list[str], tolerated: list[int]
) -> None:
    runs: list[tuple[tuple[str, ...], list[int]]] = []

    def run(*command: str, success_codes: list[int], **others: object) -> None:
        runs.append((command, success_codes))

    session = FakeSession(posargs=arguments, invoked_from="/here", run=run)
    noxfile.gate(session)
    [(command, codes)] = runs
    assert command[-len(arguments) :] == tuple(arguments)
    assert codes == tolerated


def test_the_readme_lists_every_session_and_no_other() -> None:
    menu = (ROOT / "README.md").read_text("utf-8").partition("## The menu")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in menu.splitlines() if line.startswith("| `nox")]
    listed = {name for row in rows for name in re.findall(r"nox -s ([\w-]+)", row)}
    load_noxfile()
    assert listed == set(nox.registry.get())


def test_the_readme_names_the_options_of_the_suites(pytestconfig: pytest.Config) -> None:
    menu = (ROOT / "README.md").read_text("utf-8").partition("Options go to pytest: ")[2]
    named = set(re.findall(r"--[a-z][\w-]+", menu.partition("\n\n")[0]))
    [group] = [g for g in pytestconfig._parser._groups if g.name == "stagegate"]
    known = {name for option in group.options for name in option.names()}
    assert known - {"--stage", "--device"} == named - {"--benchmark-max-time"}
