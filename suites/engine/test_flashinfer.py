"""The engine on FlashInfer's attention: as near to exact as on ours, in every mixture of a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stagegate import LLM, SamplingParams
from stagegate.errors import ConfigError
from suites.models.random_qwen2 import PRESETS, write_random_qwen2
from suites.parity.engine_logits import prompt_logits
from suites.parity.prompts import text_prompts

# Two roundings of one computation in different order: alike in size, not equal.
RATIO = 1.25
# Of logits in bf16 about as large as these, four units in the last place.
MARGIN = 0.25


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, r"needs device 'cuda', got 'cpu'; change that, or use attention_backend='native'"),
        ({"device": "cuda", "kv_layout": "slot"}, r"needs kv_layout 'block', got 'slot'"),
        ({"device": "cuda", "dtype": "f32"}, r"needs dtype 'auto' or 'f16' or 'bf16', got 'f32'"),
        ({"device": "cuda", "deterministic": True}, r"needs deterministic False, got True"),
    ],
)
def test_settings_it_cannot_have(model_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f"attention_backend='flashinfer' {words}"):
        LLM(model_path, attention_backend="flashinfer", **settings)


def test_a_build_without_it(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stagegate._C.build_info", lambda: {"flashinfer": None})
    words = r"this build has no FlashInfer; build with it \(nox -s build-cuda -- --flashinfer\)"
    with pytest.raises(ConfigError, match=words):
        LLM(model_path, device="cuda", attention_backend="flashinfer")


@pytest.mark.parametrize(
    ("dtype", "words"),
    [("f32", "the checkpoint is in 'f32'; state one"), ("bf16", "heads of 64 or 128, .* has 8")],
)
def test_a_checkpoint_it_has_no_kernel_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, words: str
) -> None:
    monkeypatch.setattr("stagegate._C.build_info", lambda: {"flashinfer": "any"})
    path = write_random_qwen2(tmp_path / "model", PRESETS["group-7"], dtype=dtype)
    with pytest.raises(ConfigError, match=words):
        LLM(path, device="cuda", attention_backend="flashinfer")


def start(path: Path, dtype: str, attention_backend: str, **settings: int) -> LLM:
    return LLM(
        path,
        device="cuda",
        dtype=dtype,
        attention_backend=attention_backend,
        kv_capacity_tokens=4096,
        **settings,
    )


@pytest.mark.requires_flashinfer
def test_logits_are_as_near_to_exact_ones(model_path: Path) -> None:
    prompts = text_prompts(model_path)
    exact, ours, theirs = (
        np.concatenate([prompt_logits(llm, prompt) for prompt in prompts])
        for llm in (
            start(model_path, "f32", "native"),
            start(model_path, "bf16", "native"),
            start(model_path, "bf16", "flashinfer"),
        )
    )
    error_of_ours = np.sqrt(np.mean((ours - exact) ** 2))
    assert 0 < np.sqrt(np.mean((theirs - exact) ** 2)) <= RATIO * error_of_ours


@pytest.mark.requires_flashinfer
def test_tokens_are_the_likeliest_up_to_rounding(model_path: Path) -> None:
    """Prompts in chunks of 9 tokens among decodes, the second time behind prefix hits."""
    prompts = text_prompts(model_path)
    llm = start(model_path, "bf16", "flashinfer", max_num_batched_tokens=9, max_num_seqs=8)
    params = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
    exact = start(model_path, "f32", "native")
    for _ in range(2):
        for prompt, output in zip(prompts, llm.generate(prompts, params), strict=True):
            tokens = output.outputs[0].token_ids
            assert len(tokens) == params.max_tokens
            logits = prompt_logits(exact, [*prompt, *tokens])[len(prompt) - 1 : -1]
            chosen = logits[np.arange(len(tokens)), tokens]
            assert (chosen >= logits.max(axis=1) - MARGIN).all()
