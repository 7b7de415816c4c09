"""nox -s compare: from its options to a record that the store and the report take."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stagegate_baselines.peers import peer_comparisons
from stagegate_baselines.project import find_project
from stagegate_baselines.record_file import read_record
from stagegate_harness.ceilings import Ceilings
from suites.offline.throughput_cases import throughput_cases
from suites.peers import command
from suites.peers.peer import OFFLINE_DRIVERS

FAKE = Path(__file__).parent / "fake_driver.py"


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake peer, the engine itself, and a folder for what they leave."""
    monkeypatch.setitem(OFFLINE_DRIVERS, "vllm", FAKE)
    monkeypatch.setattr(command, "measured_apart", lambda device, threads: Ceilings(1e9, 1e9, 1e9))
    project = replace(find_project(None), out=tmp_path)
    monkeypatch.setattr(command, "find_project", lambda root: project)
    return tmp_path


def state(monkeypatch: pytest.MonkeyPatch, **stated: object) -> None:
    monkeypatch.setenv("FAKE_ENGINE", json.dumps(stated))


def compare(*arguments: str) -> int:
    return command.main(["--peer", "vllm", "--device", "cpu", "--rounds", "2", *arguments])


def test_a_record_is_written(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state(monkeypatch, rate=1000)
    assert compare("--cases", "A,T1024", "--num-threads", "1") == 0
    record = read_record(out / "compare-vllm.json")
    assert (record.stage, record.device) == ("stage6", "cpu")
    assert [case.name for case in record.cases] == [
        f"{case}[{engine}]"
        for engine in ("stagegate", "vllm")
        for case in ("start-up", "A", "T1024")
    ]
    for case in record.cases:
        assert case.params["model"] == "tiny"
        assert not case.invalid
    found = {item.case.name: item for item in peer_comparisons(record)}
    assert found["A[stagegate]"].share is not None
    assert found["A[stagegate]"].peer.setup == {"version": "1.2.3", "rate": 1000}
    printed = capsys.readouterr()
    assert "round 2 of 2: vllm T1024" in printed.err
    assert [line.split()[0] for line in printed.out.splitlines()] == [
        "case", "start-up", "A", "T1024", "record:",
    ]  # fmt: skip


def test_a_peer_that_is_not_there_is_skipped(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state(monkeypatch, missing="no_such_engine")
    assert compare() == 0
    assert capsys.readouterr().out.startswith("skipped: not installed: no_such_engine")
    assert not list(out.glob("*.json"))


def test_an_unknown_case_is_refused(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare("--cases", "A,F,G") == 2
    assert "unknown F, G; known: A, B, E64, E256, C, D, T1024" in capsys.readouterr().err


def test_a_folder_without_a_checkpoint_is_refused(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    state(monkeypatch)
    assert compare("--config", str(tmp_path / "none")) == 1
    assert "no such folder" in capsys.readouterr().err


def test_a_failed_case_is_in_the_record_and_the_status(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(monkeypatch, fails=1)
    assert compare("--cases", "A", "--num-threads", "1") == 1
    record = read_record(out / "compare-vllm.json")
    invalid = {case.name: case.invalid for case in record.cases if case.invalid}
    assert list(invalid) == ["A[vllm]"]
    assert "a prompt of 8 is too long" in invalid["A[vllm]"][0]


def test_the_page_names_every_option_and_case() -> None:
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text("utf-8")
    parser = command._parser(find_project(None))
    options = {word for action in parser._actions for word in action.option_strings}
    for option in options - {"-h", "--help", "--num-threads"}:
        assert option in page, option
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| ")]
    named = {name.strip() for row in rows for name in row.split(",")}
    assert set(throughput_cases()) <= named
