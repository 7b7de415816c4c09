"""The page a job of GitHub Actions shows about itself."""

from __future__ import annotations

import os
from pathlib import Path

from stagegate_baselines.escaping import printable

# GitHub refuses the summary of a step that is longer.
LIMIT_BYTES = 1 << 20
_CUT = "\n\n(The rest is in the artifacts of this job.)\n"


def add_to_step_summary(markdown: str) -> None:
    """Append to the summary of the step that runs this; elsewhere nothing happens."""
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return
    path = Path(name)
    room = LIMIT_BYTES - (path.stat().st_size if path.exists() else 0)
    content = f"{printable(markdown).rstrip()}\n\n".encode()
    if len(content) > room:
        content = content[: max(0, room - len(_CUT))].decode(errors="ignore").encode()
        content += _CUT.encode()
    with path.open("ab") as file:
        file.write(content)
