"""Records of a real run, to put into a store."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stagegate_baselines.fingerprint import digest
from stagegate_baselines.records import Record
from stagegate_baselines.store import Store

ROOT = Path(__file__).parents[2]
RECORDS = Path(__file__).parent / "records"

Document = dict[str, Any]


def make_document(second: int = 0, *, rate: float = 100.0, **changes: Any) -> Document:
    """What a suite writes, with another time and rate; changes: fields of its record."""
    document: Document = json.loads((RECORDS / "version_6.json").read_text())
    section = document["stagegate"]
    section["created"] = f"2026-03-01T00:00:{second:02}Z"
    section["environment"]["git_dirty"] = False
    section["environment_key"] = digest(section["environment"])
    for case in section["cases"]:
        for metric in case["metrics"]:
            if metric["name"] == "tokens_per_sec":
                metric["samples"] = [rate, rate + 1, rate + 2]
    section.update(changes)
    return document


def make_record(second: int = 0, *, rate: float = 100.0, **changes: Any) -> Record:
    return Record.model_validate(make_document(second, rate=rate, **changes)["stagegate"])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of git with a project and two commits."""
    root = tmp_path / "repository"
    (root / "suites").mkdir(parents=True)
    (root / "pyproject.toml").write_text("[tool.stagegate]\n")
    (root / "suites" / "stages.toml").write_text("[stage0]\n")
    git = ["git", "-C", str(root), "-c", "user.name=n", "-c", "user.email=e@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    for content in ("one", "two"):
        (root / "file").write_text(content)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-qm", content], check=True)
    return root
