"""Benchmark: decode speed beside Hugging Face transformers, in the same run.

Both run random weights in bf16: on the CPU with the dimensions of Qwen2-0.5B, on the same threads;
on a GPU with those of Qwen2-1.5B, Hugging Face with a static cache and its decode step compiled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.fingerprint import model_digest
from engine import LLM, SamplingParams
from suites.harness.measure import Measure, Metrics
from suites.models.random_qwen2 import PRESETS, write_random_qwen2

INPUT_LEN = 32
OUTPUT_LEN = {"cpu": 33, "cuda": 129}

pytestmark = [
    pytest.mark.requires_hf,
    pytest.mark.benchmark(group="hugging-face"),
    # Whatever torch and transformers deprecate is not ours to mend.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, device: str) -> Path:
    preset = {"cpu": "qwen2-0.5b", "cuda": "qwen2-1.5b"}[device]
    return write_random_qwen2(tmp_path_factory.mktemp("models") / preset, PRESETS[preset])


def decode_rate(batch: int, length: int, generate: Callable[[int], None]) -> float:
    """Tokens per second after the first: the prompt's share is taken off by a run of one token."""
    started = time.perf_counter()
    generate(1)
    prefilled = time.perf_counter()
    generate(length)
    seconds = (time.perf_counter() - prefilled) - (prefilled - started)
    return batch * (length - 1) / seconds


@pytest.mark.criterion("s5.decode-speed")
@pytest.mark.parametrize("batch", [1, 8])
def test_decode(
    measure: Measure, checkpoint: Path, batch: int, device: str, num_threads: int
) -> None:
    import torch
    from transformers import Qwen2ForCausalLM, StaticCache

    torch.set_num_threads(num_threads)
    prompts = np.random.default_rng(0).integers(0, 151936, (batch, INPUT_LEN))
    theirs = Qwen2ForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16)
    theirs = theirs.eval().to(device)
    on_gpu: dict[str, Any] = {}
    if device == "cuda":
        # With a cache of one size for every length, generate() compiles its decode step, once.
        cache = StaticCache(config=theirs.config, max_cache_len=INPUT_LEN + OUTPUT_LEN[device])
        on_gpu = {"past_key_values": cache}
    ours = LLM(
        checkpoint,
        device=device,
        num_threads=num_threads,
        max_model_len=1024,
        kv_capacity_tokens=batch * 1024,
        enable_prefix_cache=False,
    )

    def generate_theirs(count: int) -> None:
        with torch.inference_mode():
            if on_gpu:
                on_gpu["past_key_values"].reset()
            theirs.generate(
                torch.from_numpy(prompts).to(device),
                attention_mask=torch.ones(prompts.shape, dtype=torch.long, device=device),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
                pad_token_id=0,
                **on_gpu,
            )

    def generate_ours(count: int) -> None:
        params = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)
        ours.generate(prompts.tolist(), params)

    def run(index: int) -> Metrics:
        # Who goes first alternates, so that a drift of the machine does not favour one.
        rates = {}
        for name, generate in sorted(
            {"stagegate": generate_ours, "transformers": generate_theirs}.items(),
            reverse=index % 2 == 1,
        ):
            rates[name] = decode_rate(batch, OUTPUT_LEN[device], generate)
        return {
            "stagegate_tok_s": rates["stagegate"],
            "transformers_tok_s": rates["transformers"],
            "ratio": rates["stagegate"] / rates["transformers"],
        }

    samples = measure(
        run,
        model_digest=model_digest(checkpoint),
        trace=lambda: generate_ours(OUTPUT_LEN[device]),
    )
    ratios = samples["ratio"]
    assert np.median([ratio for ratio in ratios if ratio is not None]) >= 1.0
