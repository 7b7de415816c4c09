"""Simon Willison's llm: prompts, streams, schemas and tools through its command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import MODEL, QUESTION, URL, check, run

HOME = Path(tempfile.mkdtemp())
(HOME / "extra-openai-models.yaml").write_text(
    json.dumps(
        [
            {
                "model_id": "served",
                "model_name": MODEL,
                "api_base": URL,
                "supports_schema": True,
                "supports_tools": True,
            }
        ]
    )
)


def llm(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "llm", *arguments],
        env=os.environ | {"LLM_USER_PATH": str(HOME), "OPENAI_API_KEY": "any"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@check
def answers_a_prompt() -> None:
    assert "Carroll" in llm("-m", "served", "-o", "temperature", "0", QUESTION)
    assert "Carroll" in llm("-m", "served", "--no-stream", "-o", "temperature", "0", QUESTION)


@check
def keeps_to_a_schema() -> None:
    text = llm("-m", "served", "--schema", "city, days int", "-o", "max_tokens", "400", QUESTION)
    parsed = json.loads(text)
    assert set(parsed) == {"city", "days"}


@check
def offers_a_tool() -> None:
    assert llm("-m", "served", "-T", "llm_version", "-o", "max_tokens", "20", QUESTION)


run("llm", "openai")
