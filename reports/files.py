"""The files a report is made from."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from baselines.records import Record
from reports.measured import Verdicts
from reports.model import AcceptedVersion, CaseVerdict, StagePlan

SECTION = "stagegate"


class ReportInputError(ValueError):
    """A file that no report can be made from; the message names it and says why."""


class VerdictEntry(BaseModel):
    """One entry of a verdict file: a CaseVerdict and what it is about."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str
    case: str
    metric: str
    judged: CaseVerdict


def load_plans(path: Path) -> tuple[StagePlan, ...]:
    """The stages of suites/stages.toml, in its order."""
    tables = tomllib.loads(_read(path))
    return tuple(
        StagePlan(name, table["title"], tuple(table["criteria"].items()))
        for name, table in tables.items()
    )


def load_record(path: Path) -> Record:
    """The record in a pytest-benchmark file. ReportInputError for any other file."""
    record = find_record(path)
    if record is None:
        msg = f"{path}: no section {SECTION!r}; files of `nox -s suite` have one"
        raise ReportInputError(msg)
    return record


def find_record(path: Path) -> Record | None:
    """The record in a JSON file, None where the file is about something else."""
    try:
        content = json.loads(_read(path))
        if not isinstance(content, dict) or SECTION not in content:
            return None
        return Record.model_validate(content[SECTION])
    except json.JSONDecodeError as error:
        msg = f"{path}: not JSON: {error}"
        raise ReportInputError(msg) from error
    except ValidationError as error:
        msg = f"{path}: not a record of this version: {error}"
        raise ReportInputError(msg) from error


def load_history(paths: Sequence[Path]) -> dict[str, list[AcceptedVersion]]:
    """Accepted versions by stage, in the order of the files; a file's stem is its label."""
    history: dict[str, list[AcceptedVersion]] = {}
    for path in paths:
        record = load_record(path)
        if record.stage is None:
            msg = f"{path}: belongs to no stage, so it has no place in a history"
            raise ReportInputError(msg)
        history.setdefault(record.stage, []).append(AcceptedVersion(path.stem, (record,)))
    return history


def load_verdicts(path: Path) -> dict[str, Verdicts]:
    """Verdicts by stage, then by case and metric."""
    try:
        entries = TypeAdapter(list[VerdictEntry]).validate_json(_read(path))
    except ValidationError as error:
        msg = f"{path}: not a list of verdicts: {error}"
        raise ReportInputError(msg) from error
    verdicts: dict[str, dict[tuple[str, str], CaseVerdict]] = {}
    for entry in entries:
        verdicts.setdefault(entry.stage, {})[entry.case, entry.metric] = entry.judged
    return dict(verdicts)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read: {error}"
        raise ReportInputError(msg) from error
