"""Benchmark: decode speed beside Hugging Face transformers, in the same run.

Both run random weights with the dimensions of Qwen2-0.5B in bf16, on the same threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from baselines.fingerprint import model_digest
from engine import LLM, SamplingParams
from suites.harness.measure import Measure, Metrics
from suites.models.random_qwen2 import PRESETS, write_random_qwen2

INPUT_LEN = 32
OUTPUT_LEN = 33

pytestmark = [
    pytest.mark.requires_hf,
    pytest.mark.benchmark(group="hugging-face"),
    # Whatever torch and transformers deprecate is not ours to mend.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def half_billion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_qwen2(tmp_path_factory.mktemp("models") / "0.5b", PRESETS["qwen2-0.5b"])


def decode_rate(batch: int, generate: Callable[[int], None]) -> float:
    """Tokens per second after the first: the prompt's share is taken off by a run of one token."""
    started = time.perf_counter()
    generate(1)
    prefilled = time.perf_counter()
    generate(OUTPUT_LEN)
    seconds = (time.perf_counter() - prefilled) - (prefilled - started)
    return batch * (OUTPUT_LEN - 1) / seconds


@pytest.mark.parametrize("batch", [1, 8])
def test_decode(measure: Measure, half_billion: Path, batch: int, num_threads: int) -> None:
    import torch
    from transformers import Qwen2ForCausalLM

    torch.set_num_threads(num_threads)
    prompts = np.random.default_rng(0).integers(0, 151936, (batch, INPUT_LEN))
    theirs = Qwen2ForCausalLM.from_pretrained(half_billion, dtype=torch.bfloat16).eval()
    ours = LLM(
        half_billion,
        num_threads=num_threads,
        max_model_len=1024,
        kv_capacity_tokens=1024,
        enable_prefix_cache=False,
    )

    def generate_theirs(count: int) -> None:
        with torch.inference_mode():
            theirs.generate(
                torch.from_numpy(prompts),
                attention_mask=torch.ones(prompts.shape, dtype=torch.long),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
                pad_token_id=0,
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
            rates[name] = decode_rate(batch, generate)
        return {
            "stagegate_tok_s": rates["stagegate"],
            "transformers_tok_s": rates["transformers"],
            "ratio": rates["stagegate"] / rates["transformers"],
        }

    ratios = measure(run, model_digest=model_digest(half_billion))["ratio"]
    assert np.median([ratio for ratio in ratios if ratio is not None]) >= 1.0
