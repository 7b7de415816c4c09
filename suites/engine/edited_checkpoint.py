"""Copies of a small checkpoint with some of its files changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from suites.models.random_qwen2 import Dimensions, write_random_qwen2

# A file to what becomes of it: values of its keys, where ... leaves a key out; what changes its
# JSON; its new text or bytes; None, which takes it away.
Edits = Mapping[str, dict[str, Any] | Callable[[dict[str, Any]], object] | str | bytes | None]

# As many tokens as tiny-qwen2's tokenizer, and a few more.
DIMENSIONS = Dimensions(vocab_size=2060, hidden_size=32, intermediate_size=64, num_layers=1)


def write_original(folder: Path) -> Path:
    """The checkpoint to copy: tiny-qwen2's tokenizer and a model of random weights."""
    write_random_qwen2(folder, DIMENSIONS)
    generation = {"do_sample": True, "temperature": 0.7, "eos_token_id": [2047, 2045]}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def edited(original: Path, folder: Path, edits: Edits) -> Path:
    shutil.copytree(original, folder)
    for name, edit in edits.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if edit is None:
            path.unlink()
        elif isinstance(edit, bytes):
            path.write_bytes(edit)
        elif isinstance(edit, str):
            path.write_text(edit, encoding="utf-8")
        else:
            stated = json.loads(path.read_text("utf-8")) if path.exists() else {}
            if callable(edit):
                edit(stated)
            else:
                stated |= edit
            kept = {key: value for key, value in stated.items() if value is not ...}
            path.write_text(json.dumps(kept), encoding="utf-8")
    return folder


def without_added(*token_ids: int) -> Callable[[dict[str, Any]], object]:
    """tokenizer.json lists these added tokens no more."""

    def edit(stated: dict[str, Any]) -> None:
        stated["added_tokens"] = [
            entry for entry in stated["added_tokens"] if entry["id"] not in token_ids
        ]

    return edit


def with_decoder(
    changes: Mapping[int, dict[str, Any] | None], **keys: Any
) -> Callable[[dict[str, Any]], object]:
    """tokenizer_config.json: entries of added_tokens_decoder changed, made or, None, taken out."""

    def edit(stated: dict[str, Any]) -> None:
        decoder = stated["added_tokens_decoder"]
        for token_id, change in changes.items():
            if change is None:
                del decoder[str(token_id)]
            else:
                decoder[str(token_id)] = decoder.get(str(token_id), {}) | change
        stated |= keys

    return edit
