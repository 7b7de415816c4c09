"""Which project a folder lies in: the nearest pyproject.toml with [tool.stagegate]."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

CONFIGURATION = "pyproject.toml"


def find_root(folder: Path) -> Path | None:
    """The folder of the nearest pyproject.toml with [tool.stagegate], upwards from `folder`.

    None where there is none. A git repository ends the search: what lies around a checkout is
    another project.
    """
    folder = folder.resolve()
    for candidate in (folder, *folder.parents):
        if read_table(candidate) is not None:
            return candidate
        if (candidate / ".git").exists():
            return None
    return None


def read_table(root: Path) -> Any:
    """[tool.stagegate] of the pyproject.toml in a folder; None where it has none.

    What is no TOML counts as none: whoever it belongs to says what is wrong with it.
    """
    try:
        document = tomllib.loads((root / CONFIGURATION).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return document.get("tool", {}).get("stagegate")
