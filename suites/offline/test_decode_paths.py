"""The kernels that a decode may take instead of its operators one by one change no answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stagegate import LLM, SamplingParams
from stagegate.outputs import CompletionOutput
from stagegate.sampling import MAX_LOGPROBS
from suites.models.random_qwen2 import PRESETS, Dimensions, write_random_qwen2

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
CAPACITY = max(MOST_REQUESTS) * (LONGEST_PROMPT + LONGEST_OUTPUT + 32)
ROUNDS = {"cpu": 1, "cuda": 3}
# Two paths round at different places, and random weights amplify it: against f32, answers in bf16
# differ first where two tokens are up to 3.5 apart in ln of their probability. So neither path is
# the measure of the other. A fused path may be this many times as far from f32 as the composed one.
MOST_TIMES_AS_FAR = 1.5
# On average over the answers; ln of a ratio of probabilities. For what both paths get nearly right.
NEGLIGIBLE = 0.02


# Prompts of a batch, and how many tokens each is to get.
Requests = tuple[list[list[int]], list[int]]


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


def random_requests(seed: int, device: str, vocab_size: int) -> list[Requests]:
    rng = np.random.default_rng(seed)
    found = []
    for most in MOST_REQUESTS:
        for _ in range(ROUNDS[device]):
            prompts = random_batch(rng, most, vocab_size)
            counts = rng.integers(1, LONGEST_OUTPUT + 1, len(prompts))
            found.append((prompts, [int(count) for count in counts]))
    return found


def generate(llm: LLM, requests: list[Requests], logprobs: int | None) -> list[CompletionOutput]:
    """Greedy answers, batch by batch."""
    outputs = []
    for prompts, counts in requests:
        params = [
            SamplingParams(temperature=0, max_tokens=count, ignore_eos=True, logprobs=logprobs)
            for count in counts
        ]
        outputs += [request.outputs[0] for request in llm.generate(prompts, params)]
    return outputs


def distance(answer: CompletionOutput, exact: CompletionOutput) -> float:
    """How much likelier, as a logarithm, the exact token is where an answer first differs; else 0.

    exact: with log-probabilities. A token that is not among them counts as the last that is.
    """
    assert exact.logprobs is not None
    for token, known in zip(answer.token_ids, exact.logprobs, strict=True):
        if token != known.token_id:
            likely = dict(known.top)
            return known.logprob - likely.get(token, min(likely.values()))
    return 0.0


def mean_distance(llm: LLM, requests: list[Requests], exact: list[CompletionOutput]) -> float:
    answers = generate(llm, requests, None)
    return float(np.mean([distance(*pair) for pair in zip(answers, exact, strict=True)]))


@pytest.mark.criterion("s6.decode-path")
@pytest.mark.parametrize("dtype", ["bf16", "f16"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_the_fused_path_is_as_exact_as_the_composed_one(
    checkpoint: Path, device: str, num_threads: int, dtype: str, deterministic: bool
) -> None:
    def engine(dtype: str, path: str) -> LLM:
        return LLM(
            checkpoint,
            device=device,
            dtype=dtype,
            deterministic=deterministic,
            num_threads=num_threads,
            kv_capacity_tokens=CAPACITY,
            enable_prefix_cache=False,
            linear_backend=path,
        )

    reference = engine("f32", "composed")
    vocab_size = reference.engine.model.decoder.vocab_size
    requests = random_requests(int(deterministic), device, vocab_size)
    exact = generate(reference, requests, MAX_LOGPROBS)
    fused, composed = (
        mean_distance(engine(dtype, path), requests, exact) for path in ("auto", "composed")
    )
    assert fused <= MOST_TIMES_AS_FAR * composed + NEGLIGIBLE


def test_a_path_that_differs_is_found(tmp_path: Path, device: str, num_threads: int) -> None:
    """Of two models with other weights, one cannot pass for a path of the other."""
    one, other = (
        LLM(
            write_random_qwen2(tmp_path / str(seed), PRESETS["group-6"], seed=seed),
            device=device,
            num_threads=num_threads,
            kv_capacity_tokens=CAPACITY,
        )
        for seed in (0, 1)
    )
    requests = random_requests(0, device, one.engine.model.decoder.vocab_size)
    exact = generate(one, requests, MAX_LOGPROBS)
    found = mean_distance(one, requests, exact)
    assert found <= NEGLIGIBLE
    assert mean_distance(other, requests, exact) > MOST_TIMES_AS_FAR * found + NEGLIGIBLE
