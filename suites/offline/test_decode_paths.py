"""The kernels that a decode may take instead of its operators one by one change no answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stagegate import LLM, SamplingParams
from stagegate.sampling import MAX_LOGPROBS
from suites.models.random_qwen2 import PRESETS, Dimensions, write_random_qwen2
from suites.offline.same_answer import is_same_answer, near_tie

# What fused kernels are made for: the widths of published models, in few layers of few words.
WIDE = {
    "1.5b": replace(PRESETS["qwen2-1.5b"], num_layers=3, vocab_size=4096, query_gain=1.0),
    "7b": replace(PRESETS["qwen2-7b"], num_layers=2, vocab_size=4096, query_gain=1.0),
}
NARROW = {"1.5b": PRESETS["group-6"], "7b": PRESETS["group-7"]}
# Batches of a round: of one, of those that fused kernels stop at, and of more.
MOST_REQUESTS = (1, 4, 16, 40)
LONGEST_PROMPT = 300
LONGEST_OUTPUT = 24
ROUNDS = {"cpu": 1, "cuda": 3}
BF16_COARSER = {"auto": 1.0, "f16": 1.0, "bf16": 8.0}
# Of the tokens: after a near tie a text may go on in another way. A wrong path would have to come
# upon one at nearly every first token.
LEAST_AGREED = 0.3


@pytest.fixture(scope="module", params=["1.5b", "7b"])
def checkpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, device: str
) -> Path:
    dimensions: Dimensions = (WIDE if device == "cuda" else NARROW)[request.param]
    return write_random_qwen2(tmp_path_factory.mktemp("models") / request.param, dimensions)


def random_batch(rng: np.random.Generator, most: int, vocab_size: int) -> list[list[int]]:
    """Prompts of any lengths, so that their sequences end blocks in different steps."""
    lengths = rng.integers(1, LONGEST_PROMPT + 1, rng.integers(1, most + 1))
    return [rng.integers(0, vocab_size, length).tolist() for length in lengths]


def check_answers(one: LLM, other: LLM, seed: int) -> float:
    """Compares answers to random batches up to their first near tie; the part that agreed."""
    rng = np.random.default_rng(seed)
    # Either path may be deterministic, and yet they sum in different orders. A fused kernel also
    # keeps in f32 what the operators one by one round to 16 bits, and a rounding of bf16 is eight
    # times as coarse as one of f16.
    config = one.engine.config
    tolerance = near_tie(replace(config, deterministic=False)) * BF16_COARSER[config.dtype]
    vocab_size = one.engine.model.decoder.vocab_size
    agreed: list[bool] = []
    for most in MOST_REQUESTS:
        for _ in range(ROUNDS[one.engine.config.device]):
            prompts = random_batch(rng, most, vocab_size)
            params = [
                SamplingParams(temperature=0, max_tokens=int(count), ignore_eos=True)
                for count in rng.integers(1, LONGEST_OUTPUT + 1, len(prompts))
            ]
            scored = [replace(item, logprobs=MAX_LOGPROBS) for item in params]
            found, expected = one.generate(prompts, params), other.generate(prompts, scored)
            for mine, known in zip(found, expected, strict=True):
                tokens, reference = mine.outputs[0].token_ids, known.outputs[0]
                assert is_same_answer(tokens, reference, tolerance)
                agreed += [a == b for a, b in zip(tokens, reference.token_ids, strict=True)]
    return sum(agreed) / len(agreed)


@pytest.mark.criterion("s6.decode-path")
@pytest.mark.parametrize("dtype", ["bf16", "f16"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_the_fused_path_gives_the_same_answers(
    checkpoint: Path, device: str, num_threads: int, dtype: str, deterministic: bool
) -> None:
    fused, composed = (
        LLM(
            checkpoint,
            device=device,
            dtype=dtype,
            deterministic=deterministic,
            num_threads=num_threads,
            kv_capacity_tokens=max(MOST_REQUESTS) * (LONGEST_PROMPT + LONGEST_OUTPUT + 32),
            enable_prefix_cache=False,
            linear_backend=path,
        )
        for path in ("auto", "composed")
    )
    assert check_answers(fused, composed, seed=int(deterministic)) > LEAST_AGREED


def test_a_path_that_differs_is_found(tmp_path: Path, device: str, num_threads: int) -> None:
    """Of two models with other weights, one cannot pass for a path of the other."""
    one, other = (
        LLM(
            write_random_qwen2(tmp_path / str(seed), PRESETS["group-6"], seed=seed),
            device=device,
            num_threads=num_threads,
            kv_capacity_tokens=max(MOST_REQUESTS) * (LONGEST_PROMPT + LONGEST_OUTPUT + 32),
        )
        for seed in (0, 1)
    )
    assert check_answers(one, one, seed=0) > LEAST_AGREED
    with pytest.raises(AssertionError):
        check_answers(one, other, seed=0)
