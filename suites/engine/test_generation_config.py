"""generation_config.json: the sampling defaults of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ModelError
from engine.models.generation_config import GenerationConfig


def test_generation_defaults(tmp_path: Path) -> None:
    assert GenerationConfig.read(tmp_path) == GenerationConfig()
    (tmp_path / "generation_config.json").write_text(
        json.dumps(
            {
                "do_sample": True,
                "eos_token_id": [151645, 151643],
                "repetition_penalty": 1.1,
                "temperature": 0.7,
                "top_k": 20,
                "top_p": 0.8,
            }
        )
    )
    config = GenerationConfig.read(tmp_path)
    assert (config.temperature, config.top_k, config.top_p) == (0.7, 20, 0.8)
    assert (config.repetition_penalty, config.eos_token_ids) == (1.1, (151645, 151643))


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"temperature": -1}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": 2.5}, "top_k"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 2**31}, "top_k.*2147483647"),
        ({"top_p": 0}, "top_p"),
        ({"temperature": 10**400}, "temperature"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"do_sample": "yes"}, "do_sample"),
        ({"eos_token_id": "x"}, "eos_token_id"),
        ({"eos_token_id": [1, -1]}, "eos_token_id"),
    ],
)
def test_bad_generation_defaults(tmp_path: Path, stated: dict[str, Any], words: str) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(stated))
    with pytest.raises(ModelError, match=words):
        GenerationConfig.read(tmp_path)


def test_not_sampling_is_greedy(tmp_path: Path) -> None:
    stated = {"do_sample": False, "temperature": 0.7, "top_k": 20, "top_p": 0.8}
    stated["repetition_penalty"] = 1.1  # applies to greedy choices too
    (tmp_path / "generation_config.json").write_text(json.dumps(stated))
    greedy = GenerationConfig(temperature=0.0, repetition_penalty=1.1)
    assert GenerationConfig.read(tmp_path) == greedy


def test_null_is_absent(tmp_path: Path) -> None:
    stated = dict.fromkeys(("temperature", "top_k", "top_p", "eos_token_id", "do_sample"))
    (tmp_path / "generation_config.json").write_text(json.dumps(stated))
    assert GenerationConfig.read(tmp_path) == GenerationConfig()


def test_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"generation_config\.json"):
        GenerationConfig.read(tmp_path)
