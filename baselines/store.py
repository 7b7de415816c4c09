"""The baseline store: records under version control, one file each, never changed.

    baselines/store/<machine key>/<stage>/0001_<label>.json
    baselines/store/<machine key>/<stage>/accepted.json

A file is the canonical JSON of its content and a digest of it, byte for byte, so an edit, a cut or
a flipped bit is noticed on reading. Files appear whole or not at all: they are written aside,
flushed to disk and then named. accepted.json holds every acceptance there ever was; the last one
counts.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from baselines.records import SCHEMA_VERSION, Record, Strict, Text
from baselines.upgrade import UpgradeError, section_of

_NAME = re.compile(r"^(\d{4,})_([a-z0-9][a-z0-9.-]*)\.json$")
_LABEL = re.compile(r"^[a-z0-9][a-z0-9.-]{0,63}$")
_ACCEPTED = "accepted.json"
_LOCK = ".lock"
_ASIDE = ".aside-"


class StoreError(Exception):
    """The store cannot do what was asked; the message names the file and the way out."""


class UnknownRecordError(StoreError):
    """No record, or more than one, answers to a name."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A record in the store: folder/number_label.json."""

    folder: Path
    number: int
    label: str

    @property
    def path(self) -> Path:
        return self.folder / f"{self.number:04}_{self.label}.json"

    @property
    def name(self) -> str:
        """<machine key>/<stage>/<number>, as the command line takes it."""
        return f"{self.folder.parent.name}/{self.folder.name}/{self.number:04}"


class Acceptance(Strict):
    """From now on, `new` is what its stage is compared with on its machine."""

    new: str
    old: str | None
    why: Text
    who: Text | None
    when: str


class Store:
    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, record: Record, label: str) -> Entry:
        """Write a record under the next free number. Raises StoreError; nothing changes then."""
        if not _LABEL.match(label):
            msg = (
                f"label {label!r}: use up to 64 of a-z, 0-9, dot and dash, a letter or digit first"
            )
            raise StoreError(msg)
        folder = self.root / record.machine_key / (record.stage or "none")
        with self._locked(folder):
            numbers = [entry.number for entry in _entries(folder)]
            entry = Entry(folder, max(numbers, default=0) + 1, label)
            _write(entry.path, record.model_dump(mode="json"), replace=False)
        return entry

    def entries(self) -> list[Entry]:
        """All records, by machine, stage and number."""
        folders = {path.parent for path in self.root.glob("*/*/*.json")}
        return sorted(entry for folder in folders for entry in _entries(folder))

    def find(self, name: str) -> Entry:
        """The entry of a name such as 1234567890abcdef/stage0/0003, or of an end of it.

        A number or a label alone will do where it is the only one. The launches of a set share
        machine, stage and label; it is named by the newest. Raises UnknownRecordError.
        """
        entries = self.entries()
        found = [entry for entry in entries if entry.name == name]
        found = found or [entry for entry in entries if _answers_to(entry, name)]
        if len({(entry.folder, entry.label) for entry in found}) == 1:
            return max(found)
        if found:
            names = ", ".join(f"{entry.name} {entry.label}" for entry in found)
            msg = f"{name} may be any of {names}; name one of them"
        else:
            msg = f"no record {name} in {self.root}; `python -m baselines list` shows what there is"
        raise UnknownRecordError(msg)

    def load(self, entry: Entry) -> Record:
        content = _read(entry.path)
        version = content.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            msg = (
                f"{entry.path}: written in schema {version}, this program knows {SCHEMA_VERSION}; "
                "update it"
            )
            raise StoreError(msg)
        try:
            return Record.model_validate(section_of({"stagegate": content}))
        except (UpgradeError, ValidationError) as error:
            msg = f"{entry.path}: not a record of this program: {error}"
            raise StoreError(msg) from error

    def accept(self, entry: Entry, *, why: str, who: str | None = None) -> Acceptance:
        """Make a record the baseline of its machine and stage."""
        if not why.strip():
            msg = "an acceptance needs a reason: --why"
            raise StoreError(msg)
        self.load(entry)  # a damaged record is no baseline
        with self._locked(entry.folder):
            history = self.history(entry.folder)
            acceptance = Acceptance(
                new=entry.name,
                old=history[-1].new if history else None,
                why=why,
                who=who,
                when=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            )
            content = [item.model_dump(mode="json") for item in (*history, acceptance)]
            _write(entry.folder / _ACCEPTED, {"acceptances": content}, replace=True)
        return acceptance

    def history(self, folder: Path) -> list[Acceptance]:
        """Acceptances of a machine and stage, oldest first."""
        path = folder / _ACCEPTED
        if not path.exists():
            return []
        content = _read(path)
        try:
            return [Acceptance.model_validate(item) for item in content["acceptances"]]
        except (KeyError, TypeError, ValidationError) as error:
            msg = f"{path}: not a list of acceptances: {error}; restore it from version control"
            raise StoreError(msg) from error

    def accepted(self, machine_key: str, stage: str) -> Entry | None:
        """The baseline of a stage on a machine; None when nothing was accepted yet."""
        history = self.history(self.root / machine_key / stage)
        return self.find(history[-1].new) if history else None

    def prune(self, folder: Path, keep: int) -> list[Entry]:
        """Delete all but the newest `keep` records of a folder and those that ever were a baseline.

        At least one stays, so that no number is given out again. Returns what was deleted.
        """
        if keep < 1:
            msg = f"{keep} is too few to keep: the newest record marks the last number given out"
            raise StoreError(msg)
        with self._locked(folder):
            baselines = {item.new for item in self.history(folder)}
            doomed = [entry for entry in _entries(folder)[:-keep] if entry.name not in baselines]
            for entry in doomed:
                entry.path.unlink()
            _sync_folder(folder)
        return doomed

    @contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        """One writer a folder at a time; the kernel frees the lock of a process that died."""
        try:
            _make_folder(folder)
            with (folder / _LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for left_over in folder.glob(f"{_ASIDE}*"):  # of a writer that was killed
                    left_over.unlink()
                yield
        except OSError as error:
            msg = f"{folder}: cannot be written: {error.strerror}; nothing was changed"
            raise StoreError(msg) from error


def _answers_to(entry: Entry, name: str) -> bool:
    whole = f"{entry.name}_{entry.label}.json"
    return name in (f"{entry.number:04}", entry.label, whole) or any(
        form.endswith(f"/{name}") for form in (entry.name, whole)
    )


def _make_folder(folder: Path) -> None:
    """With those above it, so that all of them outlive a power cut."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _entries(folder: Path) -> list[Entry]:
    found = []
    for path in folder.glob("*.json"):
        match = _NAME.match(path.name)
        if match:
            found.append(Entry(folder, int(match[1]), match[2]))
        elif path.name != _ACCEPTED:
            msg = f"{path}: not a name of the store; move the file away"
            raise StoreError(msg)
    return sorted(found)


def _canonical(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{{"sha256": "{digest}", "content":\n{text}\n}}\n'.encode()


def _read(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise StoreError(msg) from error
    try:
        content = json.loads(data)["content"]
        intact = isinstance(content, dict) and _canonical(content) == data
    except (ValueError, KeyError, TypeError, RecursionError):
        intact = False
    if not intact:
        msg = f"{path}: damaged or edited, its digest does not fit; restore it from version control"
        raise StoreError(msg)
    return dict(content)


def _write(path: Path, content: dict[str, Any], *, replace: bool) -> None:
    handle, name = tempfile.mkstemp(prefix=_ASIDE, dir=path.parent)
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_canonical(content))
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(0o644)
        if replace:
            aside.replace(path)
        else:
            path.hardlink_to(aside)  # fails where a record of that name exists
        _sync_folder(path.parent)
    finally:
        with suppress(FileNotFoundError):
            aside.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
