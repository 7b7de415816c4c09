"""generation_config.json: the sampling defaults of a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stagegate.errors import ModelError
from stagegate.llm import LLM
from stagegate.models.generation_config import GenerationConfig
from suites.engine.edited_checkpoint import edited


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
    ("stated", "values"),
    [
        ({"min_p": 0.1}, {"min_p": 0.1}),
        ({"max_new_tokens": 2048}, {"max_new_tokens": 2048}),
        ({"min_new_tokens": 3}, {"min_new_tokens": 3}),
        ({"stop_strings": "###"}, {"stop_strings": ("###",)}),
        ({"stop_strings": ["###", "\n\n"]}, {"stop_strings": ("###", "\n\n")}),
        ({"temperature": 1}, {"temperature": 1.0}),
        # Neutral values of what is not supported.
        ({"num_beams": 1, "num_return_sequences": 1, "length_penalty": 0.8}, {}),
        ({"no_repeat_ngram_size": 0, "typical_p": 1.0, "epsilon_cutoff": 0.0}, {}),
        ({"suppress_tokens": [], "bad_words_ids": None, "forced_eos_token_id": None}, {}),
        ({"guidance_scale": 1.0, "sequence_bias": {}, "min_length": 0}, {}),
        # Only sampling depends on them.
        (
            {"do_sample": False, "typical_p": 0.9, "top_h": 0.4, "eta_cutoff": 0.1, "min_p": 0.2},
            {"temperature": 0.0},
        ),
    ],
)
def test_values(tmp_path: Path, stated: dict[str, Any], values: dict[str, Any]) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(stated))
    assert GenerationConfig.read(tmp_path) == GenerationConfig(**values)


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"num_beams": 4}, "num_beams = 4: is not supported; take the key out"),
        ({"num_return_sequences": 2}, "num_return_sequences = 2"),
        ({"typical_p": 0.9}, r"typical_p = 0\.9"),
        ({"epsilon_cutoff": 3e-4}, "epsilon_cutoff"),
        ({"eta_cutoff": 1e-3}, "eta_cutoff"),
        ({"top_h": 0.4}, "top_h"),
        ({"no_repeat_ngram_size": 3}, "no_repeat_ngram_size = 3"),
        ({"encoder_repetition_penalty": 1.2}, "encoder_repetition_penalty"),
        ({"suppress_tokens": [5]}, r"suppress_tokens = \[5\]"),
        ({"begin_suppress_tokens": [5]}, "begin_suppress_tokens"),
        ({"bad_words_ids": [[5, 6]]}, "bad_words_ids"),
        ({"sequence_bias": [[[5], -1.0]]}, "sequence_bias"),
        ({"forced_eos_token_id": 2}, "forced_eos_token_id = 2"),
        ({"forced_bos_token_id": 0}, "forced_bos_token_id = 0"),
        ({"exponential_decay_length_penalty": [15, 1.6]}, "exponential_decay_length_penalty"),
        ({"guidance_scale": 1.5}, "guidance_scale"),
        ({"penalty_alpha": 0.6}, "penalty_alpha"),
        ({"min_length": 10}, "min_length"),
        ({"token_healing": True}, "token_healing"),
        ({"watermarking_config": {"bias": 2.0}}, "watermarking_config"),
    ],
)
def test_what_would_change_the_text_is_refused_by_name(
    tmp_path: Path, stated: dict[str, Any], words: str
) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(stated))
    with pytest.raises(ModelError, match=words):
        GenerationConfig.read(tmp_path)


def test_keys_that_nothing_reads_are_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stated = {"max_length": 20, "max_time": 1.0, "use_cache": True, "transformers_version": "5.0"}
    (tmp_path / "generation_config.json").write_text(json.dumps(stated))
    GenerationConfig.read(tmp_path)
    [message] = caplog.messages
    assert message.endswith("generation_config.json: not read: max_length, max_time")


def test_recommendations_become_the_default_of_a_request(
    checkpoint_original: Path, tmp_path: Path
) -> None:
    stated = {"min_p": 0.1, "max_new_tokens": 9, "min_new_tokens": 7, "stop_strings": "###"}
    folder = edited(checkpoint_original, tmp_path / "copy", {"generation_config.json": stated})
    engine = LLM(folder, kv_capacity_tokens=256).engine
    params = engine.default_sampling_params(max_tokens=None)
    assert (params.min_p, params.temperature, params.stop) == (0.1, 0.7, ("###",))
    assert (params.max_tokens, params.min_tokens) == (9, 7)
    shorter = engine.default_sampling_params(max_tokens=3)
    assert (shorter.max_tokens, shorter.min_tokens) == (3, 3)


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": 101}, "temperature = 101.*from 0 to 100"),
        ({"top_p": 1.5}, "top_p"),
        ({"min_p": 1.5}, "min_p"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"min_new_tokens": "3"}, "min_new_tokens"),
        ({"stop_strings": [""]}, "stop_strings"),
        ({"stop_strings": ["x"] * 17}, "stop_strings.*at most 16"),
        ({"do_sample": False, "top_p": 7}, "top_p"),
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
