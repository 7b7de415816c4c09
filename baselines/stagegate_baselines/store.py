"""The baseline store: records under version control, one file each, never changed.

    baselines/store/<machine key>/<stage>/<created>_<label>_<digest>.json
    baselines/store/<machine key>/<stage>/accepted/<when>_<digest>.json

Files are named by their content, so two branches that add records or accept some merge without a
conflict, and the later acceptance counts. A file is one line: the canonical JSON of its content
and a digest of it, byte for byte, so an edit, a cut or a flipped bit is noticed on reading. Files
appear whole or not at all: they are written aside, flushed to disk and then named.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stagegate_baselines.records import SCHEMA_VERSION, Record, Strict, Text
from stagegate_baselines.upgrade import UpgradeError, section_of

_NAME = re.compile(r"^(\d{8}T\d{6}Z)_([a-z0-9][a-z0-9.-]*)_([0-9a-f]{12})\.json$")
_LABEL = re.compile(r"^[a-z0-9][a-z0-9.-]{0,63}$")
_NUMBERED = re.compile(r"^\d{4,}_.*\.json$|^accepted\.json$")
_ACCEPTED = "accepted"
# Of a digest, in names: enough to tell millions of records apart.
_DIGITS = 12
_LOCK = ".lock"
_ASIDE = ".aside-"


class StoreError(Exception):
    """The store cannot do what was asked; the message names the file and the way out."""


class UnknownRecordError(StoreError):
    """No record, or more than one, answers to a name."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A record in the store. created: as in names, 20261127T150400Z. digest: how it begins."""

    folder: Path
    created: str
    label: str
    digest: str

    @property
    def path(self) -> Path:
        return self.folder / f"{self.created}_{self.label}_{self.digest}.json"

    @property
    def name(self) -> str:
        """<machine key>/<stage>/<digest>, as the command line takes it."""
        return f"{self.folder.parent.name}/{self.folder.name}/{self.digest}"


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

    def add(self, record: Record, label: str, *, again: bool = False) -> Entry:
        """Write a record. Raises StoreError; nothing changes then.

        again: a record that is there already is found, not refused, and files of older versions
        may lie beside it: for repair.
        """
        if not _LABEL.match(label):
            msg = (
                f"label {label!r}: use up to 64 of a-z, 0-9, dot and dash, a letter or digit first"
            )
            raise StoreError(msg)
        content = record.model_dump(mode="json")
        digest = digest_of(content)[:_DIGITS]
        folder = self.root / record.machine_key / (record.stage or "none")
        with self._locked(folder):
            for entry in _entries(folder, with_numbered=again):
                if entry.digest == digest and again:
                    return entry
                if entry.digest == digest:
                    msg = f"the record is in the store already, as {entry.name} {entry.label}"
                    raise StoreError(msg)
            entry = Entry(folder, re.sub("[-:]", "", record.created), label, digest)
            _write(entry.path, content)
        return entry

    def entries(self) -> list[Entry]:
        """All records, by machine, stage and time."""
        folders = {path.parent for path in self.root.glob("*/*/*.json")}
        return sorted(entry for folder in folders for entry in _entries(folder))

    def find(self, name: str) -> Entry:
        """The entry of a name such as 1234567890abcdef/stage0/0a1b2c3d4e5f, or of an end of it.

        How a digest begins, or a label, will do where it is the only one. The launches of a set
        share machine, stage and label; it is named by the newest. Raises UnknownRecordError.
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
            msg = f"no record {name} in {self.root}; `stagegate-harness list` shows what there is"
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
                # Acceptances are in the order of their times, even of two within a second.
                when=_later_than(history[-1].when if history else None),
            )
            write_acceptance(entry.folder, acceptance)
        return acceptance

    def history(self, folder: Path) -> list[Acceptance]:
        """Acceptances of a machine and stage, oldest first."""
        acceptances = []
        for path in (folder / _ACCEPTED).glob("*.json"):
            try:
                acceptances.append(Acceptance.model_validate(_read(path)))
            except ValidationError as error:
                msg = f"{path}: no acceptance: {error}; restore it from version control"
                raise StoreError(msg) from error
        return sorted(acceptances, key=lambda item: (item.when, item.new))

    def accepted(self, machine_key: str, stage: str) -> Entry | None:
        """The baseline of a stage on a machine; None when nothing was accepted yet."""
        history = self.history(self.root / machine_key / stage)
        return self.find(history[-1].new) if history else None

    def launches(self, entry: Entry) -> list[Entry]:
        """The set that a record belongs to: launches of one label and one revision."""
        kind = set_of(entry, self.load(entry))
        return [item for item in _entries(entry.folder) if set_of(item, self.load(item)) == kind]

    def prune(self, folder: Path, keep: int) -> list[Entry]:
        """Delete all but the newest `keep` records of a folder, and those of sets ever accepted.

        Returns what was deleted.
        """
        with self._locked(folder):
            kept = set(_entries(folder)[-keep:])
            for acceptance in self.history(folder):
                kept.update(self.launches(self.find(acceptance.new)))
            doomed = [entry for entry in _entries(folder) if entry not in kept]
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
                for left_over in folder.rglob(f"{_ASIDE}*"):  # of a writer that was killed
                    left_over.unlink()
                yield
        except OSError as error:
            msg = f"{folder}: cannot be written: {error.strerror}; nothing was changed"
            raise StoreError(msg) from error


def set_of(entry: Entry, record: Record) -> Hashable:
    """What the launches of a set have in common.

    A run of a whole stage has tests before and between its benchmarks: it is no launch.
    """
    return entry.label, record.environment.git_revision, record.launch is None


def digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(content).encode()).hexdigest()


def write_acceptance(folder: Path, acceptance: Acceptance) -> None:
    """Add an acceptance to those of a machine and stage."""
    content = acceptance.model_dump(mode="json")
    _make_folder(folder / _ACCEPTED)
    when = re.sub("[-:]", "", acceptance.when)
    _write(folder / _ACCEPTED / f"{when}_{digest_of(content)[:_DIGITS]}.json", content)


def _later_than(moment: str | None) -> str:
    now = datetime.now(UTC).replace(microsecond=0)
    if moment is not None:
        now = max(now, datetime.fromisoformat(moment) + timedelta(seconds=1))
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def _answers_to(entry: Entry, name: str) -> bool:
    path = f"{entry.folder.parent.name}/{entry.folder.name}/{entry.path.name}"
    if name == entry.label or f"/{path}".endswith(f"/{name}"):
        return True
    *folders, digest = name.split("/")
    in_folder = entry.folder.as_posix().endswith("/".join(["", *folders]) if folders else "")
    return in_folder and len(digest) >= 4 and entry.digest.startswith(digest)


def _make_folder(folder: Path) -> None:
    """With those above it, so that all of them outlive a power cut."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _entries(folder: Path, *, with_numbered: bool = False) -> list[Entry]:
    found = []
    for path in folder.glob("*.json"):
        match = _NAME.match(path.name)
        if match:
            found.append(Entry(folder, match[1], match[2], match[3]))
            continue
        if with_numbered and _NUMBERED.match(path.name):
            continue
        remedy = (
            "it is named by a number, as older versions did; run `stagegate-harness repair`"
            if _NUMBERED.match(path.name)
            else "not a name of the store; move the file away"
        )
        msg = f"{path}: {remedy}"
        raise StoreError(msg)
    return sorted(found)


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(
        content, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )


def _canonical(content: Mapping[str, Any]) -> bytes:
    return f'{{"sha256":"{digest_of(content)}","content":{_text(content)}}}\n'.encode()


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


def _write(path: Path, content: Mapping[str, Any]) -> None:
    handle, name = tempfile.mkstemp(prefix=_ASIDE, dir=path.parent)
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_canonical(content))
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(0o644)
        aside.replace(path)
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
