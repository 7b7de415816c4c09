"""The store keeps what it was given, through crashes, crowds, full disks and edits."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from baselines.__main__ import main
from baselines.store import Store, StoreError
from suites.baselines.sample_record import sample_record

MACHINE = "0123456789abcdef"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_records_come_back_as_they_went_in(store: Store) -> None:
    records = [sample_record(rate=rate) for rate in (1.0, 2.0, 3.0)]
    entries = [store.add(record, f"v{number}") for number, record in enumerate(records)]
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert store.entries() == entries
    assert [store.load(entry) for entry in entries] == records
    assert entries[2].name == f"{MACHINE}/stage0/0003"
    assert store.find(entries[1].name) == entries[1]


def test_the_last_acceptance_counts_and_all_are_kept(store: Store) -> None:
    assert store.accepted(MACHINE, "stage0") is None
    first, second = (store.add(sample_record(rate=rate), "run") for rate in (1.0, 2.0))
    store.accept(first, why="the first", who="somebody")
    store.accept(second, why="twice as fast")
    assert store.accepted(MACHINE, "stage0") == second
    history = store.history(first.folder)
    assert [(item.old, item.new) for item in history] == [
        (None, first.name),
        (first.name, second.name),
    ]
    assert [item.who for item in history] == ["somebody", None]


def test_refusals(store: Store) -> None:
    entry = store.add(sample_record(), "run")
    with pytest.raises(StoreError, match="reason"):
        store.accept(entry, why="  ")
    with pytest.raises(StoreError, match="label 'Up/Down'"):
        store.add(sample_record(), "Up/Down")
    with pytest.raises(StoreError, match="no record x/y/0001"):
        store.find("x/y/0001")
    (entry.folder / "notes.json").write_text("{}")
    with pytest.raises(StoreError, match=r"notes\.json: not a name of the store"):
        store.entries()


def test_a_newer_schema_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = store.add(sample_record(), "run")
    monkeypatch.setattr("baselines.store.SCHEMA_VERSION", 0)
    with pytest.raises(StoreError, match="schema 1, this program knows 0"):
        store.load(entry)


@pytest.mark.parametrize("name", ["record", "acceptances"])
def test_every_flipped_bit_and_every_cut_is_noticed(store: Store, name: str) -> None:
    entry = store.add(sample_record(), "run")
    store.accept(entry, why="so")
    path = entry.path if name == "record" else entry.folder / "accepted.json"
    content = path.read_bytes()
    rng = random.Random(0)
    for _ in range(400):
        damaged = bytearray(content)
        position = rng.randrange(len(damaged))
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match="restore it from version control"):
            store.load(entry) if name == "record" else store.history(entry.folder)
    for _ in range(50):
        path.write_bytes(content[: rng.randrange(len(content))])
        with pytest.raises(StoreError, match="restore it from version control"):
            store.load(entry) if name == "record" else store.history(entry.folder)


def script(store: Store, body: str) -> list[str]:
    lines = [
        "import sys",
        "from pathlib import Path",
        "from baselines.store import Store",
        "from suites.baselines.sample_record import sample_record",
        f"store = Store(Path({str(store.root)!r}))",
        "print('ready', flush=True)",
        body,
    ]
    return [sys.executable, "-c", "\n".join(lines)]


def test_eight_writers_at_once_lose_nothing(store: Store) -> None:
    body = (
        "for i in range(6):\n"
        "    store.accept(store.add(sample_record(rate=float(i + 1)), 'run'), why='so')"
    )
    writers = [
        subprocess.Popen(script(store, body), cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(8)
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 8
    entries = store.entries()
    assert [entry.number for entry in entries] == list(range(1, 49))
    for entry in entries:
        store.load(entry)
    assert len(store.history(entries[0].folder)) == 48


def test_a_killed_writer_leaves_a_whole_store(store: Store) -> None:
    body = "while True:\n    store.accept(store.add(sample_record(), 'run'), why='so')\n"
    rng = random.Random(0)
    known = 0
    for _ in range(12):
        writer = subprocess.Popen(script(store, body), cwd=ROOT, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        entries = store.entries()
        assert len(entries) >= known  # nothing that was there is gone
        known = len(entries)
        for entry in entries:
            store.load(entry)
        baseline = store.accepted(MACHINE, "stage0")
        assert baseline is None or baseline in entries
    entry = store.add(sample_record(), "after")
    assert not list(entry.folder.glob(".aside-*"))


def test_a_full_disk_changes_nothing(store: Store) -> None:
    entry = store.add(sample_record(), "run")
    store.accept(entry, why="so")
    before = {path: path.read_bytes() for path in entry.folder.glob("*.json")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(StoreError, match="cannot be written: File too large"):
            store.add(sample_record(), "run")
        with pytest.raises(StoreError, match="nothing was changed"):
            store.accept(entry, why="again")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in entry.folder.glob("*.json")} == before
    assert not list(entry.folder.glob(".aside-*"))


def test_command_line(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "stage0.json"
    file.write_text(json.dumps({"stagegate": sample_record().model_dump(mode="json")}))

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["--store", str(store.root), *arguments])
        captured = capsys.readouterr()
        return status, captured.out.strip(), captured.err.strip()

    name = f"{MACHINE}/stage0/0001"
    assert run("add", str(file), "--label", "v1") == (0, name, "")
    assert run("accept", name, "--why", "first") == (0, f"nothing -> {name}", "")
    assert run("list")[1].startswith(f"* {name}  v1")
    assert json.loads(run("show", name)[1])["stage"] == "stage0"
    assert "first" in run("history", f"{MACHINE}/stage0")[1]
    assert "metric_class" in run("schema")[1]
    status, out, error = run("show", "nowhere")
    assert (status, out) == (1, "")
    assert error.startswith("error: no record nowhere")
    file.write_text("")
    assert "holds no record" in run("add", str(file), "--label", "v1")[2]
