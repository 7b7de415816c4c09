"""The cases of stage 6 are what their names promise, and their least work is counted right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stagegate.models.model_config import ModelConfig
from stagegate.models.registry import load_model_config
from stagegate_harness.ceilings import Ceilings
from suites.models.random_qwen2 import PRESETS, write_random_qwen2
from suites.offline.least_work import case_work, decode_work, least_work, step_weight_bytes
from suites.offline.throughput_cases import Request, cases_for, throughput_cases

CASES = throughput_cases()
SHAPES = {
    "A": (1, 128, 256), "B": (8, 256, 256), "E64": (64, 960, 129), "E256": (256, 960, 129),
    "D": (64, 4096, 1), "T1024": (1, 1024, 1),
}  # fmt: skip


@pytest.mark.parametrize(("name", "shape"), SHAPES.items())
def test_a_case_has_its_size(name: str, shape: tuple[int, int, int]) -> None:
    count, prompt_len, output_len = shape
    assert CASES[name].requests == (Request(prompt_len, output_len),) * count


def test_ragged_requests_have_all_lengths() -> None:
    requests = CASES["C"].requests
    assert len(requests) == 256
    for lengths in ({r.prompt_len for r in requests}, {r.output_len for r in requests}):
        assert min(lengths) >= 100
        assert max(lengths) <= 1024
        assert len(lengths) > 150


def test_prompts_are_the_same_in_every_process_and_in_no_other_round() -> None:
    case = cases_for("cpu")["B"]
    assert case.prompts(0, 1000) == case.prompts(0, 1000)
    rounds = [tuple(prompt) for index in range(-1, 5) for prompt in case.prompts(index, 1000)]
    rounds += [tuple(prompt) for prompt in case.one_token().prompts(0, 1000)]
    assert len(set(rounds)) == len(rounds)
    assert {len(prompt) for prompt in rounds} == {case.requests[0].prompt_len}


def test_figures_are_of_what_a_case_measures() -> None:
    assert CASES["A"].figures(2.0, 0.02) == {
        "ttft_ms": 20.0, "tpot_ms": pytest.approx(1980 / 255), "tokens_per_sec": 128.0,
    }  # fmt: skip
    decode = CASES["E64"].figures(3.0, 1.0)
    assert decode["tokens_per_sec"] == 64 * 128 / 2.0
    assert CASES["D"].figures(2.0) == {"prefill_tok_s": 64 * 4096 / 2.0}
    assert CASES["T1024"].figures(0.02) == {"ttft_ms": 20.0}
    assert list(CASES["C"].figures(1.0)) == ["tokens_per_sec"]


def test_a_decode_shorter_than_its_first_tokens_is_none() -> None:
    figures = CASES["E64"].figures(1.0, 1.0)
    assert (figures["tokens_per_sec"], figures["tpot_ms"]) == (None, None)
    with pytest.raises(ValueError, match="takes the time of its first tokens too"):
        CASES["E64"].figures(1.0)


def model_of(folder: Path, name: str) -> ModelConfig:
    """The configuration of a published model, of which no weights are written."""
    path = write_random_qwen2(folder, PRESETS["group-6"])
    stated = json.loads((path / "config.json").read_text())
    dimensions = PRESETS[name]
    stated |= {
        "vocab_size": dimensions.vocab_size,
        "hidden_size": dimensions.hidden_size,
        "intermediate_size": dimensions.intermediate_size,
        "num_hidden_layers": dimensions.num_layers,
        "num_attention_heads": dimensions.num_heads,
        "num_key_value_heads": dimensions.num_kv_heads,
        "tie_word_embeddings": dimensions.tie_word_embeddings,
    }
    (path / "config.json").write_text(json.dumps(stated))
    return load_model_config(path)


# Counted by hand from the published dimensions: bytes of weights a step, bytes of one token in the
# KV cache, operations of one prompt of 4,096 tokens.
COUNTED = {
    "1.5b": (3_087_428_608, 28_672, 12.18e12),
    "7b": (14_141_238_272, 57_344, 56.82e12),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelConfig]:
    return {
        name: model_of(tmp_path_factory.mktemp("models") / name, f"qwen2-{name}")
        for name in COUNTED
    }


@pytest.mark.parametrize("name", COUNTED)
def test_work_is_that_of_published_models(models: dict[str, ModelConfig], name: str) -> None:
    weights, per_token, prefill_flops = COUNTED[name]
    assert step_weight_bytes(models[name]) == weights
    prefill = least_work(models[name], [Request(4096, 1)])
    assert prefill.moved_bytes == weights + 4096 * per_token
    assert prefill.flops == pytest.approx(prefill_flops, rel=1e-3)
    step = decode_work(models[name], batch=8, context_len=1025, steps=1)
    assert step.moved_bytes == weights + 8 * 1024 * per_token + 8 * per_token


def test_tied_embeddings_are_read_as_the_head(tmp_path: Path) -> None:
    tied, untied = (
        load_model_config(
            write_random_qwen2(tmp_path / str(flag), replace(PRESETS["group-6"],
                                                             tie_word_embeddings=flag))
        )
        for flag in (True, False)
    )  # fmt: skip
    assert step_weight_bytes(tied) == step_weight_bytes(untied)


def test_a_decode_case_leaves_out_its_prefill(models: dict[str, ModelConfig]) -> None:
    model, case = models["1.5b"], CASES["E64"]
    work = case_work(model, case)
    steps = [
        decode_work(model, batch=64, context_len=960 + step, steps=1) for step in range(1, 129)
    ]
    assert work.moved_bytes == sum(step.moved_bytes for step in steps)
    assert work.flops == sum(step.flops for step in steps)


def test_the_nearer_limit_is_the_larger_share(models: dict[str, ModelConfig]) -> None:
    ceilings = Ceilings(copy_bytes_per_s=1.0, flops_per_s=750e12, read_bytes_per_s=3e12)
    work = case_work(models["1.5b"], CASES["A"])
    shares = work.shares(work.moved_bytes / 3e12, ceilings)
    assert shares["share_of_read"] == pytest.approx(1.0)
    assert (shares["share_of_matmul"] or 0) < 0.01
    work = case_work(models["1.5b"], CASES["D"])
    shares = work.shares(2 * work.flops / 750e12, ceilings)
    assert shares["share_of_matmul"] == pytest.approx(0.5)
    assert work.shares(None, ceilings) == {"share_of_read": None, "share_of_matmul": None}
