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
import numpy.typing as npt
import pytest

from stagegate import LLM, SamplingParams
from stagegate_baselines.fingerprint import model_digest
from stagegate_baselines.peers import ENGINE, OURS
from stagegate_harness.measure import Measure, Metrics
from suites.models.random_qwen2 import PRESETS, write_random_qwen2
from suites.offline.greedy_choice import Text, check_greedy

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


def decode(
    batch: int, length: int, generate: Callable[[int], list[list[int]]]
) -> tuple[float, list[list[int]]]:
    """Tokens, and how many a second after the first: a run of one takes the prompt's share off."""
    started = time.perf_counter()
    generate(1)
    prefilled = time.perf_counter()
    texts = generate(length)
    seconds = (time.perf_counter() - prefilled) - (prefilled - started)
    assert [len(text) for text in texts] == [length] * batch
    return batch * (length - 1) / seconds, texts


def transformers_decoder(
    model: Any, prompts: npt.NDArray[np.int64], device: str, length: int
) -> Callable[[int], list[list[int]]]:
    """What decodes so many tokens of each prompt, up to `length`, by Hugging Face's generate()."""
    import torch
    from transformers import StaticCache

    on_gpu: dict[str, Any] = {}
    if device == "cuda":
        # With a cache of one size for every length, generate() compiles its decode step, once.
        cache = StaticCache(config=model.config, max_cache_len=INPUT_LEN + length)
        on_gpu = {"past_key_values": cache}

    def generate(count: int) -> list[list[int]]:
        with torch.inference_mode():
            if on_gpu:
                on_gpu["past_key_values"].reset()
            sequences = model.generate(
                torch.from_numpy(prompts).to(device),
                attention_mask=torch.ones(prompts.shape, dtype=torch.long, device=device),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
                pad_token_id=0,
                **on_gpu,
            )
        return sequences[:, INPUT_LEN:].tolist()  # type: ignore[no-any-return]

    return generate


def stagegate_decoder(llm: LLM, prompts: npt.NDArray[np.int64]) -> Callable[[int], list[list[int]]]:
    """What decodes so many tokens of each prompt."""

    def generate(count: int) -> list[list[int]]:
        params = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)
        outputs = llm.generate(prompts.tolist(), params)
        return [output.outputs[0].token_ids for output in outputs]

    return generate


@pytest.mark.criterion("s5.decode-speed")
@pytest.mark.parametrize("batch", [1, 8])
def test_decode(
    measure: Measure, checkpoint: Path, batch: int, device: str, num_threads: int
) -> None:
    import torch
    import transformers
    from transformers import Qwen2ForCausalLM

    length = OUTPUT_LEN[device]
    torch.set_num_threads(num_threads)
    prompts = np.random.default_rng(0).integers(0, 151936, (batch, INPUT_LEN))
    theirs = Qwen2ForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16)
    theirs = theirs.eval().to(device)
    ours = LLM(
        checkpoint,
        device=device,
        num_threads=num_threads,
        max_model_len=1024,
        kv_capacity_tokens=batch * 1024,
        enable_prefix_cache=False,
    )
    decoders = {
        "stagegate": stagegate_decoder(ours, prompts),
        "transformers": transformers_decoder(theirs, prompts, device, length),
    }
    answers: dict[str, set[Text]] = {"stagegate": set(), "transformers": set()}
    # By round; the warm-up is -1.
    their_rates: dict[int, float] = {}
    ratios: dict[int, float] = {}

    def run(index: int) -> Metrics:
        # Who goes first alternates, so that a drift of the machine does not favour one.
        rates: dict[str, float] = {}
        for name, generate in sorted(decoders.items(), reverse=index % 2 == 1):
            rates[name], texts = decode(batch, length, generate)
            answers[name].update((*p, *t) for p, t in zip(prompts.tolist(), texts, strict=True))
        their_rates[index] = rates["transformers"]
        ratios[index] = rates["stagegate"] / rates["transformers"]
        return {"tokens_per_sec": rates["stagegate"]}

    samples = measure(
        run,
        model_digest=model_digest(checkpoint),
        workload={ENGINE: OURS, "prompts": batch, "input_len": INPUT_LEN, "output_len": length},
        trace=lambda: decoders["stagegate"](length),
    )
    rounds = range(len(samples["tokens_per_sec"]))
    measure.beside(
        "transformers",
        {"tokens_per_sec": [their_rates[index] for index in rounds]},
        {"version": transformers.__version__, "torch": torch.__version__},
    )
    # Fast and wrong is not fast.
    check_greedy(theirs, INPUT_LEN, answers["transformers"], answers["stagegate"])
    assert np.median([ratios[index] for index in rounds]) >= 1.0
