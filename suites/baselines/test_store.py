"""The store keeps what it was given, through crashes, crowds, full disks and edits."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stagegate_baselines.records import SCHEMA_VERSION, Record
from stagegate_baselines.store import Entry, Store, StoreError, UnknownRecordError
from stagegate_harness.__main__ import main
from suites.baselines.sample_record import sample_record

MACHINE = "0123456789abcdef"
ROOT = Path(__file__).parents[2]


def test_records_come_back_as_they_went_in(store: Store) -> None:
    records = [sample_record(rate=rate) for rate in (1.0, 2.0, 3.0)]
    entries = [store.add(record, f"v{number}") for number, record in enumerate(records)]
    assert [entry.label for entry in entries] == ["v0", "v1", "v2"]
    assert store.entries() == entries
    assert [store.load(entry) for entry in entries] == records
    assert re.fullmatch(rf"{MACHINE}/stage0/[0-9a-f]{{12}}", entries[2].name)
    assert store.find(entries[1].name) == entries[1]
    with pytest.raises(StoreError, match=f"in the store already, as {entries[0].name} v0"):
        store.add(records[0], "again")


def test_records_are_one_line(store: Store) -> None:
    entry = store.add(sample_record(), "run")
    assert entry.path.read_bytes().count(b"\n") == 1


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
    with pytest.raises(StoreError, match="no record x/y/0a1b"):
        store.find("x/y/0a1b")
    (entry.folder / "notes.json").write_text("{}")
    with pytest.raises(StoreError, match=r"notes\.json: not a name of the store"):
        store.entries()


def test_a_newer_schema_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = store.add(sample_record(), "run")
    monkeypatch.setattr("stagegate_baselines.store.SCHEMA_VERSION", 0)
    with pytest.raises(StoreError, match=f"schema {SCHEMA_VERSION}, this program knows 0"):
        store.load(entry)


@pytest.mark.parametrize("name", ["record", "acceptances"])
def test_every_flipped_bit_and_every_cut_is_noticed(store: Store, name: str) -> None:
    entry = store.add(sample_record(), "run")
    store.accept(entry, why="so")
    [accepted] = (entry.folder / "accepted").iterdir()
    path = entry.path if name == "record" else accepted
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
        "import os",
        "from itertools import count",
        "from pathlib import Path",
        "from stagegate_baselines.store import Store",
        "from suites.baselines.sample_record import sample_record",
        f"store = Store(Path({str(store.root)!r}))",
        "print('ready', flush=True)",
        body,
    ]
    return [sys.executable, "-c", "\n".join(lines)]


def test_eight_writers_at_once_lose_nothing(store: Store) -> None:
    body = (
        "for i in range(6):\n"
        "    rate = float(os.getpid() + i / 10)\n"
        "    store.accept(store.add(sample_record(rate=rate), 'run'), why='so')"
    )
    writers = [
        subprocess.Popen(script(store, body), cwd=ROOT, stdout=subprocess.DEVNULL) for _ in range(8)
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 8
    entries = store.entries()
    assert len(entries) == 48
    for entry in entries:
        store.load(entry)
    assert len(store.history(entries[0].folder)) == 48


def test_a_killed_writer_leaves_a_whole_store(store: Store) -> None:
    body = (
        "for i in count():\n"
        "    rate = os.getpid() + i / 1000\n"
        "    store.accept(store.add(sample_record(rate=rate), 'run'), why='so')\n"
    )
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
    assert known > 0
    entry = store.add(sample_record(), "after")
    assert not list(entry.folder.glob(".aside-*"))


# Dies of SIGKILL before the line of store.py that is the n-th to run, for every n, and prints what
# a reader without a lock finds each time: numbers of records and of acceptances.
DIE_EVERYWHERE = """
import os, signal, sys, threading
from pathlib import Path
from stagegate_baselines import store as module
from stagegate_baselines.store import Store
from suites.baselines.sample_record import sample_record

def act(store):
    store.accept(store.add(sample_record(rate=2.0), 'added'), why='so')

def die_at(number):
    left = [number]
    def trace(frame, event, argument):
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)

number, status = 0, 1
while status != 0:
    number += 1
    root = Path(sys.argv[1], str(number))
    store = Store(root)
    first = store.add(sample_record(), 'first')
    store.accept(first, why='first')
    child = os.fork()
    if child == 0:
        die_at(number)
        act(store)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    entries = store.entries()
    for entry in entries:
        store.load(entry)
    history = store.history(first.folder)
    assert store.accepted(first.folder.parent.name, 'stage0') in entries
    print(len(entries), len(history))
    store.add(sample_record(rate=3.0), 'after')  # the lock is free, what was left over goes
    assert not list(first.folder.glob('.aside-*'))
"""


def test_dead_before_any_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DIE_EVERYWHERE, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    # Nothing, then the record, then its acceptance; never less than before, never half of one.
    assert found == sorted(found)
    assert set(found) == {(1, 1), (2, 1), (2, 2)}
    assert len(found) > 100


def test_names_may_be_short(store: Store) -> None:
    first, second = (
        store.add(sample_record(rate=rate), label) for rate, label in ((1.0, "v1"), (2.0, "v2"))
    )
    digest, file = first.digest, first.path.name
    for name in (digest, digest[:4], "v1", f"stage0/{digest[:6]}", file, f"stage0/{file}"):
        assert store.find(name) == first
    with pytest.raises(UnknownRecordError, match=r"no record . in"):
        store.find(digest[:1])
    store.add(sample_record(stage="stage1"), "v2")
    with pytest.raises(UnknownRecordError, match=r"v2 may be any of .*stage0/\w+ v2, .*stage1/"):
        store.find("v2")
    assert store.find(second.name) == second


def test_pruning_keeps_the_newest_and_every_set_that_was_accepted(store: Store) -> None:
    def launches(label: str, *rates: float) -> list[Entry]:
        return [store.add(launch(rate), label) for rate in rates]

    accepted = launches("v1", 1.0, 2.0, 3.0)
    other = launches("v2", 4.0, 5.0)
    later = launches("v3", 6.0, 7.0)
    newest = launches("v4", 8.0)
    folder = newest[0].folder
    store.accept(accepted[1], why="first")
    store.accept(later[0], why="faster")
    kept = sorted(store.entries())[-1:]
    doomed = [entry for entry in (*other, *newest) if entry not in kept]
    assert sorted(store.prune(folder, 1)) == sorted(doomed)
    assert set(store.entries()) == {*accepted, *later, *kept}
    [file, _] = (folder / "accepted").iterdir()
    file.write_bytes(file.read_bytes().replace(b"why", b"who"))
    with pytest.raises(StoreError, match="damaged or edited"):
        store.prune(folder, 1)
    assert set(store.entries()) == {*accepted, *later, *kept}


def launch(rate: float) -> Record:
    return sample_record(rate=rate).model_copy(update={"launch": 0})


def test_a_full_disk_changes_nothing(store: Store) -> None:
    entry = store.add(sample_record(), "run")
    store.accept(entry, why="so")
    before = {path: path.read_bytes() for path in entry.folder.rglob("*.json")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(StoreError, match="cannot be written: File too large"):
            store.add(sample_record(rate=2.0), "run")
        with pytest.raises(StoreError, match="nothing was changed"):
            store.accept(entry, why="again")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in entry.folder.rglob("*.json")} == before
    assert not list(entry.folder.rglob(".aside-*"))


def test_command_line(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "stage0.json"
    file.write_text(json.dumps({"stagegate": sample_record().model_dump(mode="json")}))

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["--store", str(store.root), *arguments])
        captured = capsys.readouterr()
        return status, captured.out.strip(), captured.err.strip()

    status, name, error = run("add", str(file), "--label", "v1")
    assert (status, error) == (0, "")
    assert name.startswith(f"{MACHINE}/stage0/")
    assert run("accept", name, "--why", "first") == (0, f"nothing -> {name}", "")
    assert re.search(rf"^\*  {name} +v1 ", run("list")[1], re.MULTILINE)
    assert json.loads(run("show", name, "--json")[1])["stage"] == "stage0"
    assert "first" in run("history", "--machine", MACHINE, "--stage", "stage0")[1]
    assert "metric_class" in run("schema")[1]
    status, out, error = run("show", "nowhere")
    assert (status, out) == (2, "")
    assert error.startswith("error: no record nowhere")
    file.write_text("")
    assert "holds no record" in run("add", str(file), "--label", "v1")[2]
