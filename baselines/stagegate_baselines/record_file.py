"""Records in the files that suites write, of this version or an older one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stagegate_baselines.records import Record
from stagegate_baselines.store import StoreError
from stagegate_baselines.upgrade import UpgradeError, section_of

# The section of pytest-benchmark's file that is ours.
SECTION = "stagegate"


def read_record(path: Path) -> Record:
    """The record of a file that a suite wrote, upgraded to this version. Raises StoreError."""
    try:
        return Record.model_validate(section_of(_read(path)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (SECTION, *first["loc"])))
        msg = f"{path}: holds no record: {where}: {first['msg']} (errors: {error.error_count()})"
        raise StoreError(msg) from error
    except UpgradeError as error:
        msg = f"{path}: holds no record: {error}"
        raise StoreError(msg) from error


def json_schema() -> dict[str, Any]:
    """JSON Schema of the section, draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Record.model_json_schema(mode="validation"),
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise StoreError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path}: holds no record: it is not JSON: {error}"
        raise StoreError(msg) from error
    if not isinstance(document, dict):
        msg = f"{path}: holds no record: it is no object of JSON"
        raise StoreError(msg)
    return document


def pictures_of(record: Path) -> Path:
    """The folder beside a record's file with the screenshots its tests took."""
    return record.with_name(f"{record.stem}-pictures")


def log_of(record: Path) -> Path:
    """The file beside a record's with what its tests had to say as they went on."""
    return record.with_suffix(".log")


def traces_of(record: Path) -> Path:
    """The folder beside a record's file with the kernel traces of its cases."""
    return record.with_name(f"{record.stem}-traces")
