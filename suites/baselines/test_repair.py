"""Stores of older versions, and merges of two, become one of today's form."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stagegate_baselines.repair import repair
from stagegate_baselines.store import Store, StoreError
from suites.baselines.sample_record import sample_record

FOLDER = "0123456789abcdef/stage0"


def sealed(content: dict[str, Any]) -> str:
    """As older versions wrote a file."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, indent=1)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{{"sha256": "{digest}", "content":\n{text}\n}}\n'


def add_numbered(store: Store, number: int, label: str, rate: float) -> Path:
    path = store.root / FOLDER / f"{number:04}_{label}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(sealed(sample_record(rate=rate).model_dump(mode="json")))
    return path


def acceptance(number: int, old: int | None = None, second: int = 0) -> dict[str, Any]:
    return {
        "new": f"{FOLDER}/{number:04}",
        "old": None if old is None else f"{FOLDER}/{old:04}",
        "why": "so",
        "who": None,
        "when": f"2026-01-01T00:00:{second:02}Z",
    }


def accept(store: Store, *acceptances: dict[str, Any]) -> str:
    text = sealed({"acceptances": list(acceptances)})
    (store.root / FOLDER / "accepted.json").write_text(text)
    return text


def test_a_numbered_store_is_refused_with_the_way_out(store: Store) -> None:
    add_numbered(store, 1, "v1", 1.0)
    for action in (store.entries, lambda: store.add(sample_record(), "new")):
        with pytest.raises(StoreError, match="run `stagegate-harness repair`"):
            action()


def test_numbered_records_are_named_by_content_and_stay_accepted(store: Store) -> None:
    for number in (1, 2, 3):
        add_numbered(store, number, f"v{number}", float(number))
    accept(store, acceptance(1), acceptance(3, 1, second=1))
    assert len(repair(store)) == 5
    entries = store.entries()
    assert {store.load(entry).cases[0].metrics[0].samples[0] for entry in entries} == {1, 2, 3}
    baseline = store.accepted(*FOLDER.split("/"))
    assert baseline is not None
    assert baseline.label == "v3"
    first, second = store.history(baseline.folder)
    assert (first.old, first.new) == (None, second.old)
    assert repair(store) == []


def test_two_branches_of_a_numbered_store(store: Store) -> None:
    """Both added number 2 and accepted it; git kept both records and left a conflict."""
    add_numbered(store, 1, "v1", 1.0)
    mine, theirs = add_numbered(store, 2, "mine", 2.0), add_numbered(store, 2, "theirs", 3.0)
    ours = accept(store, acceptance(1), acceptance(2, 1, second=1))
    other = accept(store, acceptance(1), acceptance(2, 1, second=2))
    conflict = f"<<<<<<< HEAD\n{ours}=======\n{other}>>>>>>> theirs\n"
    (store.root / FOLDER / "accepted.json").write_text(conflict)
    with pytest.raises(StoreError, match=r"a number that both mine of .* and theirs of .* have"):
        repair(store)
    assert mine.exists()
    assert theirs.exists()  # nothing is lost by an attempt
    aside = theirs.rename(store.root / "theirs.json")
    for path in (store.root / FOLDER).glob("*_theirs_*.json"):
        path.unlink()
    repair(store)
    assert aside.exists()
    baseline = store.accepted(*FOLDER.split("/"))
    assert baseline is not None
    assert baseline.label == "mine"


def test_a_damaged_file_stops_the_repair(store: Store) -> None:
    path = add_numbered(store, 1, "v1", 1.0)
    path.write_text(path.read_text().replace("tokens_per_sec", "tokens_per_min"))
    with pytest.raises(StoreError, match=r"0001_v1\.json: damaged or edited"):
        repair(store)
    assert path.exists()


def test_an_acceptance_of_nothing_stops_the_repair(store: Store) -> None:
    path = add_numbered(store, 1, "v1", 1.0)
    accept(store, acceptance(7))
    with pytest.raises(StoreError, match=r"accepts .*/0007, which is not there"):
        repair(store)
    assert path.exists()


def test_stores_of_two_branches_merge_as_files(store: Store, tmp_path: Path) -> None:
    base = store.add(sample_record(rate=1.0), "base")
    store.accept(base, why="first")
    branches = [Store(tmp_path / name) for name in ("ours", "theirs")]
    for number, branch in enumerate(branches):
        shutil.copytree(store.root, branch.root)
        entry = branch.add(sample_record(rate=2.0 + number), "new")
        branch.accept(entry, why=f"branch {number}")
    merged = Store(tmp_path / "merged")
    for branch in branches:
        shutil.copytree(branch.root, merged.root, dirs_exist_ok=True)
    assert len(merged.entries()) == 3
    assert {item.why for item in merged.history(base_folder(merged))} == {
        "first", "branch 0", "branch 1",
    }  # fmt: skip
    assert merged.accepted(*FOLDER.split("/")) is not None
    next_one = merged.add(sample_record(rate=9.0), "next")
    merged.accept(next_one, why="settles it")
    assert merged.accepted(*FOLDER.split("/")) == next_one


def base_folder(store: Store) -> Path:
    return store.root / FOLDER
