"""Tags of reasoning and calls that are special tokens, which texts omit by default."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stagegate import EngineConfig, build_engine
from stagegate.async_llm import AsyncLLM
from stagegate.server.http.settings import ServerSettings
from stagegate.server.openai.responses import ChatCompletion
from stagegate.text.tokenizer import Tokenizer
from suites.engine.fake_executor import FakeExecutor, Script
from suites.online.live_server import LiveServer, live_server

pytestmark = pytest.mark.criterion("s0.online")

TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": CITY}}]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
NAMED = {"type": "function", "function": {"name": "weather"}}


@pytest.fixture(scope="module")
def folder(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint with the tags as special tokens, added after its vocabulary if needed."""
    folder = tmp_path_factory.mktemp("special-tags")
    for path in model_path.glob("*.json"):
        shutil.copy(path, folder)
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = {token["content"]: token for token in tokenizer["added_tokens"]}
    ids = {*tokenizer["model"]["vocab"].values(), *(token["id"] for token in added.values())}
    for tag in TAGS:
        if tag not in added:
            added[tag] = {"id": max(ids) + 1, "content": tag} | plain
            tokenizer["added_tokens"].append(added[tag])
            ids.add(added[tag]["id"])
    config["vocab_size"] = max(config["vocab_size"], max(ids) + 1)  # models pad theirs
    for tag in TAGS:
        added[tag]["special"] = True
    stated = json.loads((folder / "tokenizer_config.json").read_text())
    for token in stated.get("added_tokens_decoder", {}).values():
        token["special"] |= token["content"] in TAGS
    (folder / "tokenizer_config.json").write_text(json.dumps(stated))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


@pytest.fixture(scope="module")
def tagged(folder: Path, script: Script) -> Iterator[LiveServer]:
    llm = AsyncLLM(
        build_engine(
            EngineConfig(model=folder, kv_capacity_tokens=4096), executor=FakeExecutor(script)
        )
    )
    with live_server(llm, ServerSettings(reasoning=True)) as running:
        yield running


def ask(server: LiveServer, **fields: Any) -> ChatCompletion:
    body = {"messages": [{"role": "user", "content": "Oslo?"}], "tools": TOOLS} | fields
    response = httpx.post(f"{server.url}/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return ChatCompletion.model_validate_json(response.content, strict=True)


@pytest.mark.parametrize(
    "fields",
    [{}, {"tool_choice": NAMED}, {"tool_choice": "required"}, {"parallel_tool_calls": False}],
)
def test_special_tags_are_read(
    tagged: LiveServer, script: Script, folder: Path, fields: dict[str, Any]
) -> None:
    tokenizer = Tokenizer.load(folder)
    script.token_ids = tokenizer.encode(f"<think>It rains.</think>\n\n{CALL}<|im_end|>")
    assert sum(map(tokenizer.is_special, script.token_ids)) == 5
    [choice] = ask(tagged, **fields).choices
    assert choice.message.reasoning_content == "It rains."
    assert not choice.message.content
    assert choice.message.tool_calls is not None
    [call] = choice.message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Oslo"}


def test_tags_that_the_text_leaves_out_are_written_in_ordinary_tokens(
    tagged: LiveServer, script: Script, folder: Path
) -> None:
    tokenizer = Tokenizer.load(folder)
    pieces = ("<tool", "_call>", CALL[11:-12], "</tool", "_call>")
    script.token_ids = [token_id for piece in pieces for token_id in tokenizer.encode(piece)]
    assert not any(map(tokenizer.is_special, script.token_ids))
    [choice] = ask(tagged, tool_choice=NAMED, skip_special_tokens=True).choices
    assert choice.message.tool_calls is not None
    assert choice.message.tool_calls[0].function.name == "weather"
