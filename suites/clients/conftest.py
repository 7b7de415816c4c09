"""One server for all clients: tiny-qwen2 with a longer context and a template that shows tools."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from suites.adapter.options import ENGINE
from suites.clients.client import Outcome, ServedModel
from suites.online.server_process import server_process

# Some clients send prompts of several thousand tokens.
MAX_MODEL_LEN = 16_384


@pytest.fixture(scope="session")
def checkpoint(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clients") / "model"
    shutil.copytree(pytestconfig.stash[ENGINE].recorded_model, folder)
    _edit(folder / "config.json", max_position_embeddings=MAX_MODEL_LEN)
    _edit(folder / "tokenizer_config.json", model_max_length=MAX_MODEL_LEN)
    shutil.copy(Path(__file__).parent / "tools_template.jinja", folder / "chat_template.jinja")
    return folder


@pytest.fixture(scope="session")
def served(checkpoint: Path) -> Iterator[ServedModel]:
    flags = ("--kv-capacity-tokens", "65536", "--dtype", "f32")
    with server_process(checkpoint, "cpu", "block", *flags) as (url, _):
        yield ServedModel(f"{url}/v1", "tiny", checkpoint)


@pytest.fixture(scope="session")
def outcomes(pytestconfig: pytest.Config) -> Iterator[dict[str, Outcome]]:
    """What each client that ran gave; written as a table when the run ends."""
    gathered: dict[str, Outcome] = {}
    yield gathered
    out = pytestconfig.rootpath / "reports" / "out"
    out.mkdir(parents=True, exist_ok=True)
    lines = ["| client | versions | checks |", "|---|---|---|"]
    for name, outcome in sorted(gathered.items()):
        versions = ", ".join(f"{package} {number}" for package, number in outcome.versions.items())
        passed = sum(error is None for error in outcome.errors.values())
        lines.append(f"| {name} | {versions} | {passed} of {len(outcome.errors)} |")
    (out / "clients.md").write_text("\n".join([*lines, ""]), "utf-8")


def _edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields), "utf-8")
