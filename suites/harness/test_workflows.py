"""The workflows call sessions of the noxfile, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SESSIONS = set(
    re.findall(
        r"@(?:nox\.session|with_engine)(?:\((?:name=\"([\w-]+)\")?.*\))?\ndef (\w+)",
        (ROOT / "noxfile.py").read_text(),
    )
)
NAMES = {name or function for name, function in SESSIONS}


@pytest.mark.parametrize("file", ["cpu.yml", "gpu.yml"])
def test_every_command_is_a_session(file: str) -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / file).read_text())
    commands = [
        step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step
    ]
    called = [re.fullmatch(r"nox -s ([\w-]+)(?: -- .*)?", command) for command in commands]
    sessions = {match[1] for match in called if match}
    assert [c for c, match in zip(commands, called, strict=True) if not match] in (
        [],
        ["pipx install nox"] * commands.count("pipx install nox"),
    )
    assert sessions <= NAMES
    assert {"suite", "gate", "report"} <= sessions
