"""Brings a store of an older version, or the merge of two, into today's form.

Older versions numbered the records of a folder and kept all acceptances in one file, so that two
branches gave the same number to two records and conflicted in that file.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stagegate_baselines.records import Record
from stagegate_baselines.store import Acceptance, Entry, Store, StoreError, write_acceptance
from stagegate_baselines.upgrade import UpgradeError, section_of

_NUMBERED = re.compile(r"^(\d{4,})_([a-z0-9][a-z0-9.-]*)\.json$")
_ACCEPTED = "accepted.json"
# Git's marks around the two sides of a conflict.
_CONFLICT = re.compile(
    r"^<{7}[^\n]*\n(?P<ours>.*?)^={7}\n(?P<theirs>.*?)^>{7}[^\n]*\n", re.MULTILINE | re.DOTALL
)


def repair(store: Store) -> list[str]:
    """Rename numbered records by their content and split their acceptances; says what was done.

    Nothing is deleted before what replaces it is on disk. Raises StoreError for a damaged file, and
    for an acceptance of a number that two records have.
    """
    done = []
    for folder in sorted(store.root.glob("*/*")):
        entries: dict[str, list[Entry]] = {}
        old_files = []
        for path in sorted(folder.glob("*.json")):
            if (match := _NUMBERED.match(path.name)) is not None:
                entry = _add_again(store, path, match[2])
                entries.setdefault(match[1], []).append(entry)
                old_files.append(path)
                done.append(f"{path.relative_to(store.root)} -> {entry.path.name}")
        accepted = folder / _ACCEPTED
        if accepted.exists():
            for acceptance in _acceptances(accepted):
                renamed = acceptance.model_copy(
                    update={
                        "new": _renamed(acceptance.new, entries, accepted),
                        "old": acceptance.old and _renamed(acceptance.old, entries, accepted),
                    }
                )
                write_acceptance(folder, renamed)
                done.append(
                    f"{accepted.relative_to(store.root)}: {renamed.new} since {renamed.when}"
                )
            old_files.append(accepted)
        for path in old_files:
            path.unlink()
    return done


def _add_again(store: Store, path: Path, label: str) -> Entry:
    try:
        record = Record.model_validate(
            section_of({"stagegate": _content(path.read_text("utf-8"), path)})
        )
    except (UpgradeError, ValidationError) as error:
        msg = f"{path}: not a record of this program: {error}"
        raise StoreError(msg) from error
    return store.add(record, label, again=True)


def _renamed(name: str, entries: dict[str, list[Entry]], path: Path) -> str:
    found = entries.get(name.rpartition("/")[2], [])
    if len(found) == 1:
        return found[0].name
    if not found:
        msg = f"{path}: accepts {name}, which is not there; restore it from version control"
        raise StoreError(msg)
    names = " and ".join(f"{entry.label} of {entry.created}" for entry in found)
    msg = (
        f"{path}: accepts {name}, a number that both {names} have; delete or move away the one "
        "that was not accepted, repair, and add it again"
    )
    raise StoreError(msg)


def _acceptances(path: Path) -> list[Acceptance]:
    """Of the file, or of both sides of a conflict in it."""
    text = path.read_text("utf-8")
    sides = dict.fromkeys(_CONFLICT.sub(rf"\g<{side}>", text) for side in ("ours", "theirs"))
    try:
        items = {
            json.dumps(item, sort_keys=True): Acceptance.model_validate(item)
            for side in sides
            for item in _content(side, path)["acceptances"]
        }
    except (KeyError, TypeError, ValidationError) as error:
        msg = f"{path}: not a list of acceptances: {error}; restore it from version control"
        raise StoreError(msg) from error
    return list(items.values())


def _content(text: str, path: Path) -> dict[str, Any]:
    """What a file of an older version holds; its digest was that of JSON indented by one."""
    try:
        document = json.loads(text)
        content = document["content"]
        written = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1)
        intact = document["sha256"] == hashlib.sha256(written.encode()).hexdigest()
    except (ValueError, KeyError, TypeError, RecursionError):
        intact = False
    if not intact or not isinstance(content, dict):
        msg = f"{path}: damaged or edited, its digest does not fit; restore it from version control"
        raise StoreError(msg)
    return content
