"""The files a report is made from."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from stagegate_baselines.gate.findings import Verdicts
from stagegate_baselines.record_file import pictures_of, read_record
from stagegate_baselines.records import Record
from stagegate_baselines.store import Store
from stagegate_reports.assemble import History, Pictures
from stagegate_reports.model import AcceptedVersion, GateRun, Picture, StagePlan


class ReportInputError(ValueError):
    """Nothing that a report can be made from; the message names it and says why."""


def load_plans(path: Path) -> tuple[StagePlan, ...]:
    """The stages of suites/stages.toml, in its order."""
    tables = tomllib.loads(path.read_text("utf-8"))
    return tuple(
        StagePlan(name, table["title"], tuple(table["criteria"].items()))
        for name, table in tables.items()
    )


def load_record(name: str, store: Store) -> tuple[Path, Record]:
    """A record and its file, by the path of what a suite wrote or as the store finds it.

    Raises StoreError.
    """
    path = Path(name)
    kept = path.resolve().is_relative_to(store.root.resolve())
    if path.suffix == ".json" and not kept:
        return path, read_record(path)
    inside = path.resolve().relative_to(store.root.resolve()).as_posix() if kept else name
    entry = store.find(inside)
    return entry.path, store.load(entry)


def load_gate(folder: Path) -> GateRun:
    """Raises ReportInputError for a folder that no finished gate left, StoreError for its files."""
    path = folder / "verdict.json"
    try:
        verdicts = Verdicts.model_validate_json(path.read_bytes())
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}; --gate takes the folder of a gate"
        raise ReportInputError(msg) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        msg = (
            f"{path}: not the verdicts of a gate of this version: {where}: {first['msg']}; "
            "run the gate again"
        )
        raise ReportInputError(msg) from error
    base, new = (
        tuple(read_record(file) for file in sorted(folder.glob(f"{side}-*.json")))
        for side in ("base", "new")
    )
    stages = {record.stage for record in (*base, *new)}
    stage = stages.pop() if len(stages) == 1 else None
    if stage is None or not new:
        msg = f"{folder}: a gate leaves launches new-*.json of one stage there"
        raise ReportInputError(msg)
    return GateRun(
        stage=stage,
        base_name=verdicts.base.name,
        base=base,
        # A gate runs the benchmarks alone, which proves nothing about the rest of a suite.
        new=tuple(record.model_copy(update={"evidence": ()}) for record in new),
        found={(item.case, item.metric): item for item in verdicts.judgements},
    )


def load_pictures(files: Mapping[Path, Record]) -> Pictures:
    """By stage, the screenshots that lie beside the files of its records."""
    pictures: dict[str, tuple[Picture, ...]] = {}
    for path, record in files.items():
        if record.stage is not None:
            taken = sorted(pictures_of(path).glob("*.png"))
            found = (Picture(file.stem.replace("-", " "), file.read_bytes()) for file in taken)
            pictures[record.stage] = (*pictures.get(record.stage, ()), *found)
    return pictures


def load_history(store: Store, records: Iterable[Record], gates: Sequence[GateRun]) -> History:
    """By stage, what was accepted on the machines of these records; last the base of a gate."""
    wanted = dict.fromkeys((record.stage, record.machine_key) for record in records)
    history: dict[str, list[AcceptedVersion]] = {}
    for stage, machine_key in wanted:
        if stage is None:
            continue
        for acceptance in store.history(store.root / machine_key / stage):
            entry = store.find(acceptance.new)
            launches = tuple(store.load(item) for item in store.launches(entry))
            version = AcceptedVersion(f"{entry.label} {entry.digest}", launches)
            history.setdefault(stage, []).append(version)
    for gate in gates:
        if gate.base:
            history.setdefault(gate.stage, []).append(
                AcceptedVersion("base", gate.base, of_gate=True)
            )
    return history
