"""Packs the packages of the harness that lie beside their data, elsewhere in the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ELSEWHERE = {
    "stagegate_baselines": "../../baselines/stagegate_baselines",
    "stagegate_reports": "../../reports/stagegate_reports",
}


class BuildHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """An editable installation has a path to them instead, in dev-mode-dirs."""
        if version == "editable":
            return
        root = Path(self.root)
        for package, place in ELSEWHERE.items():
            # In a source distribution they lie beside this file, packed before.
            found = root / place if (root / place).is_dir() else root / package
            build_data["force_include"][str(found)] = package
