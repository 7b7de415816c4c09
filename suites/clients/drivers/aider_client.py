"""aider: one message about one file, through its command line."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import MODEL, URL, check, run


@check
def answers_about_a_file() -> None:
    folder = Path(tempfile.mkdtemp())
    (folder / "hello.py").write_text("print('hello')\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "aider", "--model", f"openai/{MODEL}", "--no-git", "--yes"),
            *("--no-show-model-warnings", "--no-check-update", "--no-analytics"),
            *("--no-auto-commits", "--map-tokens", "0", "--edit-format", "ask"),
            *("--message", "What does this file do?", "hello.py"),
        ],
        cwd=folder,
        env=os.environ | {"OPENAI_API_BASE": URL, "OPENAI_API_KEY": "any", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tokens:" in done.stdout, done.stdout + done.stderr
    assert "litellm." not in done.stdout, done.stdout


run("aider-chat", "litellm")
