"""What a gate compares this tree with: a revision to build and launch, or launches in the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import StrEnum

from stagegate_baselines.gate.noise import Noise, launch_noise
from stagegate_baselines.records import Record
from stagegate_baselines.store import Entry, Store, StoreError, set_of

ACCEPTED = "accepted"
SELF = "self"

# An interval that takes the spread of the base from fewer would be too wide to decide by.
LEAST_STORED_LAUNCHES = 5


class Mode(StrEnum):
    """paired: build the base and launch it beside the new side. stored: take it from the store."""

    PAIRED = "paired"
    STORED = "stored"


class OnMismatch(StrEnum):
    """What to do where nothing was accepted on this machine, but on another.

    paired: build what was accepted there and launch it here. advisory: compare with the launches of
    there, if it is a machine of the same kind, for advice only. fail: compare nothing.
    """

    PAIRED = "paired"
    ADVISORY = "advisory"
    FAIL = "fail"


class NoBaseError(StoreError):
    """There is nothing to compare with; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Base:
    """Either a revision to build ("self": this tree), or stored launches.

    name: for people. advisory: the stored launches are of another machine.
    """

    name: str
    revision: str | None = None
    stored: tuple[Record, ...] = ()
    advisory: bool = False
    noise: Noise = field(default_factory=dict)


def choose_base(
    store: Store,
    *,
    stage: str,
    machine_key: str,
    against: str,
    mode: Mode,
    on_mismatch: OnMismatch,
) -> Base:
    """Raises NoBaseError, and StoreError for a damaged store."""
    noise = launch_noise(_sets(store, machine_key, stage).values())
    if against != ACCEPTED:
        if mode is Mode.STORED:
            msg = f"--mode stored compares with --against {ACCEPTED}, not with {against!r}"
            raise NoBaseError(msg)
        return Base(against, revision=against, noise=noise)
    entry = store.accepted(machine_key, stage)
    if entry is not None:
        return _of_accepted(store, entry, mode, noise)
    elsewhere = _newest_elsewhere(store, stage)
    if on_mismatch is OnMismatch.FAIL:
        msg = (
            f"{elsewhere.name} was accepted on another machine; --on-mismatch paired builds it here"
        )
        raise NoBaseError(msg)
    if on_mismatch is OnMismatch.ADVISORY:
        return Base(elsewhere.name, stored=_launches(store, elsewhere), advisory=True, noise=noise)
    return _of_accepted(store, elsewhere, Mode.PAIRED, noise)


def _of_accepted(store: Store, entry: Entry, mode: Mode, noise: Noise) -> Base:
    if mode is Mode.STORED:
        stored = _launches(store, entry)
        if len(stored) < LEAST_STORED_LAUNCHES:
            msg = (
                f"{entry.name} has {len(stored)} launches in the store and --mode stored needs "
                f"{LEAST_STORED_LAUNCHES}; take more at its revision with `stagegate-harness "
                f"measure {entry.folder.name} --label {entry.label}`, or use --mode paired"
            )
            raise NoBaseError(msg)
        return Base(entry.name, stored=stored, noise=noise)
    environment = store.load(entry).environment
    if environment.git_revision is None or environment.git_dirty:
        msg = (
            f"{entry.name} was measured on a tree that no revision names, so it cannot be built "
            "again; use --mode stored or accept a record of a committed tree"
        )
        raise NoBaseError(msg)
    return Base(entry.name, revision=environment.git_revision, noise=noise)


def _newest_elsewhere(store: Store, stage: str) -> Entry:
    accepted = [
        (history[-1].when, history[-1].new)
        for folder in {entry.folder for entry in store.entries() if entry.folder.name == stage}
        if (history := store.history(folder))
    ]
    if not accepted:
        msg = (
            f"nothing was accepted for {stage} yet; name a revision with --against, or take "
            f"launches with `stagegate-harness measure {stage}` and accept them"
        )
        raise NoBaseError(msg)
    return store.find(max(accepted)[1])


def _launches(store: Store, entry: Entry) -> tuple[Record, ...]:
    """The records that are launches of the same thing as one of them."""
    return tuple(store.load(item) for item in store.launches(entry))


def _sets(store: Store, machine_key: str, stage: str) -> dict[Hashable, list[Record]]:
    sets: dict[Hashable, list[Record]] = defaultdict(list)
    for entry in store.entries():
        if (entry.folder.parent.name, entry.folder.name) == (machine_key, stage):
            record = store.load(entry)
            sets[set_of(entry, record)].append(record)
    return sets
