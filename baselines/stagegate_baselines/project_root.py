"""Which project a folder lies in: the nearest pyproject.toml with [tool.stagegate]."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

CONFIGURATION = "pyproject.toml"


def find_root(folder: Path) -> Path | None:
    """The folder of the nearest pyproject.toml with [tool.stagegate], upwards from `folder`.

    Returns None if there is no such file. The search ends at the root of a git repository: a
    checkout does not belong to the project around it.
    """
    folder = folder.resolve()
    for candidate in (folder, *folder.parents):
        if read_table(candidate) is not None:
            return candidate
        if (candidate / ".git").exists():
            return None
    return None


def read_table(root: Path) -> Any:
    """[tool.stagegate] of the pyproject.toml in a folder; None if there is no such table.

    A file that is not valid TOML counts as having no table: its own tools report the error.
    """
    try:
        document = tomllib.loads((root / CONFIGURATION).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return document.get("tool", {}).get("stagegate")
