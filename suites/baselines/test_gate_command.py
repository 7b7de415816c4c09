"""stagegate-harness gate on a real repository, with launches that were written down before."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from stagegate_baselines import fingerprint
from stagegate_baselines.gate import command
from stagegate_baselines.gate.escalation import Side
from stagegate_baselines.gate.findings import Verdicts
from stagegate_baselines.records import Record
from stagegate_baselines.store import Store
from stagegate_harness.__main__ import main
from suites.baselines.sample_record import sample_record

Run = Callable[..., int]

SLOWER = [50.0, 50.25, 49.75]
EQUAL = [100.0, 100.5, 99.5]
NOISY = [100.0, 140.0, 80.0, 125.0]


class Launches:
    """In place of PytestSource: the rate of a launch by side."""

    rates: Mapping[Side, list[float]] = {}

    def __init__(self, trees: Mapping[Side, Path], *, folder: Path, **_: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.files = {side: (tree / "file").read_text() for side, tree in trees.items()}
        assert self.files[Side.NEW] == "two"

    def launch(self, side: Side, number: int) -> Record:
        assert self.files[side] == ("two" if side is Side.NEW else "one")
        rates = self.rates[side]
        return sample_record(rate=rates[number % len(rates)])


@pytest.fixture
def run(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Gate the last commit against the one before; rates: of the new side."""
    monkeypatch.setattr(command, "PytestSource", Launches)

    def run(rates: list[float], *arguments: str) -> int:
        monkeypatch.setattr(Launches, "rates", {Side.BASE: EQUAL, Side.NEW: rates})
        folders = ["--root", str(repository), "--store", str(tmp_path / "store")]
        return main([*folders, "gate", "stage0", "--against", "HEAD~1", *arguments])

    return run


def commit(repository: Path, name: str) -> str:
    done = subprocess.run(
        ["git", "rev-parse", name], cwd=repository, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_what_a_program_reads_of_a_gate(run: Run, repository: Path, tmp_path: Path) -> None:
    assert run(SLOWER) == 1
    [file] = (tmp_path / "repository" / "reports" / "gate").glob("stage0-*/verdict.json")
    content = json.loads(file.read_text("utf-8"))
    assert Verdicts.model_validate(content)
    assert content["schema_version"] == 2
    assert (content["stage"], content["comparison"]) == ("stage0", "paired")
    assert content["base"] == {
        "name": "HEAD~1", "revision": commit(repository, "HEAD~1"), "dirty": False,
    }  # fmt: skip
    assert content["new"] == {
        "name": "this tree", "revision": commit(repository, "HEAD"), "dirty": False,
    }  # fmt: skip
    assert content["machine_key"] == fingerprint.digest(fingerprint.machine())
    assert content["machine"]["cpu"] == fingerprint.machine().cpu
    assert (content["launches"], content["exit_code"]) == (10, 1)
    [item] = content["judgements"]
    assert (item["metric"], item["unit"], item["better"]) == ("tokens_per_sec", "tok/s", "higher")
    assert item["verdict"] == "regressed"
    assert item["base_median"] == pytest.approx(2 * item["new_median"])
    assert item["change"] == pytest.approx(-0.5)
    low, high = item["interval"]
    assert low - 1e-9 <= item["change"] <= high + 1e-9 < item["margin"][0] < 0 < item["margin"][1]
    assert item["launch_sd"] < 0.01
    assert item["control_sd"] is None


def test_changes_that_no_commit_holds_are_said(run: Run, repository: Path, tmp_path: Path) -> None:
    (repository / "other").write_text("not committed")
    run(EQUAL)
    [file] = (tmp_path / "repository" / "reports" / "gate").glob("stage0-*/verdict.json")
    content = json.loads(file.read_text("utf-8"))
    assert (content["base"]["dirty"], content["new"]["dirty"]) == (False, True)


def test_the_most_it_takes_is_said_first(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run(EQUAL)
    said = capsys.readouterr().err.splitlines()
    assert said[2] == "at most 13 launches a side, of which 5 confirm a change"
    assert said[3] == "launch 1 of 5 a side"
    run(EQUAL, "--launches", "2", "--time-budget", "600")
    assert (
        "at most 7 launches a side, of which 5 confirm a change; none begins after 10 min"
        in capsys.readouterr().err
    )


def test_the_tree_of_the_base_is_gone_afterwards(run: Run, repository: Path) -> None:
    run(EQUAL)
    listed = subprocess.run(
        ["git", "worktree", "list"], cwd=repository, capture_output=True, text=True, check=True
    )
    assert len(listed.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("rates", "arguments", "code", "level"),
    [
        (EQUAL, [], 0, None),
        (NOISY, [], 3, "warning"),
        (NOISY, ["--strict"], 3, "error"),
        (SLOWER, [], 1, "error"),
    ],
)
def test_a_gate_on_github_makes_a_reader_look(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rates: list[float],
    arguments: list[str],
    code: int,
    level: str | None,
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert run(rates, *arguments) == code
    marks = [line for line in capsys.readouterr().out.splitlines() if line.startswith("::")]
    assert [mark.split()[0] for mark in marks] == ([f"::{level}"] if level else [])


def test_no_base_is_a_warning_and_strictly_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    gate = ["--store", str(tmp_path), "gate", "stage0"]
    for arguments, level in ((gate, "warning"), ([*gate, "--strict"], "error")):
        assert main(arguments) == 4
        out = capsys.readouterr().out
        assert out.startswith(f"::{level} title=nothing to compare with::nothing was accepted")


def test_stored_launches_are_named_as_the_base(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    monkeypatch.setattr(fingerprint, "digest", lambda value: "0123456789abcdef")
    for number in range(5):
        record = sample_record(rate=EQUAL[number % 3])
        environment = record.environment.model_copy(
            update={"git_revision": "c" * 40, "git_dirty": False}
        )
        entry = store.add(
            record.model_copy(update={"launch": number, "environment": environment}), "v1"
        )
    store.accept(entry, why="first")
    assert run(EQUAL, "--against", "accepted", "--mode", "stored") == 0
    [file] = (tmp_path / "repository" / "reports" / "gate").glob("stage0-*/verdict.json")
    content = json.loads(file.read_text("utf-8"))
    assert content["comparison"] == "stored"
    assert content["base"] == {"name": entry.name, "revision": "c" * 40, "dirty": False}
