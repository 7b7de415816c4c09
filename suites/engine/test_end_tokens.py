"""Where a text ends: the union of what the files of a checkpoint say."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagegate.errors import ModelError
from stagegate.llm import LLM
from stagegate.models.generation_config import GenerationConfig
from stagegate.models.registry import load_model_config
from stagegate.sampling import SamplingParams
from stagegate.structured.grammar import Grammar
from stagegate.text.end_tokens import end_tokens
from stagegate.text.tokenizer import Tokenizer
from suites.engine.conftest import TINY
from suites.engine.edited_checkpoint import Edits, edited

CONFIG = "config.json"
GENERATION = "generation_config.json"
TOKENIZER = "tokenizer_config.json"
NO_IDS: Edits = {CONFIG: {"eos_token_id": ...}, GENERATION: {"eos_token_id": ...}}


def read(folder: Path) -> tuple[int, ...]:
    return end_tokens(
        load_model_config(folder), GenerationConfig.read(folder), Tokenizer.load(folder)
    )


@pytest.mark.parametrize(
    ("edits", "ids"),
    [
        ({}, {2, 2045, 2047}),
        ({CONFIG: {"eos_token_id": 5}, GENERATION: None}, {5, 2047}),
        ({CONFIG: {"eos_token_id": [5, 6, 5]}, GENERATION: {"eos_token_id": 6}}, {5, 6, 2047}),
        (NO_IDS, {2047}),
        ({CONFIG: {"eos_token_id": None}, GENERATION: {"eos_token_id": []}}, {2047}),
        ({**NO_IDS, TOKENIZER: {"eos_token": ...}}, {2045}),
        ({**NO_IDS, TOKENIZER: {"eos_token": None}}, set()),
        (
            {
                **NO_IDS,
                TOKENIZER: {"eos_token": ..., "added_tokens_decoder": ...},
                "special_tokens_map.json": {"eos_token": {"content": "<|im_end|>"}},
            },
            {2047},
        ),
    ],
)
def test_every_file_counts(
    checkpoint_original: Path, tmp_path: Path, edits: Edits, ids: set[int]
) -> None:
    found = read(edited(checkpoint_original, tmp_path / "copy", edits))
    assert set(found) == ids
    assert len(found) == len(ids)


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({GENERATION: {"eos_token_id": [2047, 2060]}}, r"generation_config\.json.*2060"),
        ({GENERATION: {"eos_token_id": "2047"}}, "eos_token_id = '2047'"),
        ({GENERATION: {"eos_token_id": 2047.0}}, r"eos_token_id = 2047\.0"),
        ({GENERATION: {"eos_token_id": True}}, "eos_token_id = True"),
        ({CONFIG: {"eos_token_id": 2060}}, r"config\.json: eos_token_id = 2060"),
        (
            {CONFIG: {"vocab_size": 2047, "eos_token_id": 2}, GENERATION: None},
            r"tokenizer_config\.json: eos_token: token 2047 is not one of the 2047",
        ),
        ({TOKENIZER: {"eos_token": "<eot>"}}, "eos_token = '<eot>'"),
    ],
)
def test_a_token_the_model_does_not_have_is_refused(
    checkpoint_original: Path, tmp_path: Path, edits: Edits, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        read(edited(checkpoint_original, tmp_path / "copy", edits))


def test_a_text_ends_at_the_token_only_the_tokenizer_names(
    checkpoint_original: Path, tmp_path: Path
) -> None:
    llm = LLM(edited(checkpoint_original, tmp_path / "copy", NO_IDS), kv_capacity_tokens=512)
    assert llm.engine.inputs.eos_token_ids == (2047,)
    certain = SamplingParams(temperature=0, max_tokens=8, logit_bias={2047: 100.0})
    [output] = llm.generate("a", certain)
    assert (output.outputs[0].token_ids, output.outputs[0].finish_reason) == ([2047], "stop")


def test_a_structured_text_ends_at_the_token_only_the_tokenizer_names(
    checkpoint_original: Path, tmp_path: Path
) -> None:
    llm = LLM(edited(checkpoint_original, tmp_path / "copy", NO_IDS), kv_capacity_tokens=512)
    params = SamplingParams(max_tokens=16, seed=0, grammar=Grammar.choice(["yes", "no"]))
    [output] = llm.generate("a", params)
    assert output.outputs[0].text in ("yes", "no")
    assert output.outputs[0].finish_reason == "stop"


def test_without_any_end_token_a_text_ends_by_its_length(
    checkpoint_original: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edits = {**NO_IDS, TOKENIZER: {"eos_token": None}}
    llm = LLM(edited(checkpoint_original, tmp_path / "copy", edits), kv_capacity_tokens=512)
    assert "no file of the checkpoint names an end token" in caplog.text
    [output] = llm.generate("a", SamplingParams(temperature=0, max_tokens=8, min_tokens=2))
    assert (len(output.outputs[0].token_ids), output.outputs[0].finish_reason) == (8, "length")


def test_the_checkpoint_in_the_repository_has_two() -> None:
    assert set(read(TINY)) == {2045, 2047}
