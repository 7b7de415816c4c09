"""Records in the files that suites write."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from baselines.records import Record
from baselines.store import StoreError

# The section of pytest-benchmark's file that is ours.
SECTION = "stagegate"


def read_record(path: Path) -> Record:
    """The record of a file that a suite wrote. Raises StoreError."""
    try:
        return Record.model_validate(json.loads(path.read_text("utf-8"))[SECTION])
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        hint = "the run wrote no benchmark, or it is not a file of a suite"
        detail = error if isinstance(error, ValidationError) else hint
        raise StoreError(f"{path}: holds no record: {detail}") from error
