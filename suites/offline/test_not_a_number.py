"""A model that computes NaN: every kind of request fails with an error naming the token."""

from __future__ import annotations

from typing import Any

import pytest

from stagegate import LLM, SamplingParams
from stagegate.core.request import Request
from stagegate.errors import ArgumentError
from stagegate.structured.grammar import Grammar
from suites.models.random_qwen2 import Dimensions, write_nan, write_random_qwen2

DIMENSIONS = Dimensions(vocab_size=2048, tie_word_embeddings=False)
BROKEN = 300  # the token whose weights are no numbers
NAN_LOGIT = "has a logit of NaN for token"

ASKED: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "sampled": {"temperature": 1.0, "seed": 1},
    "top-k": {"temperature": 1.0, "top_k": 5},
    "top-p": {"temperature": 1.0, "top_p": 0.9},
    "logprobs": {"temperature": 0, "logprobs": 3},
    "sampled with logprobs": {"temperature": 1.0, "logprobs": 0},
    "prompt_logprobs": {"temperature": 0, "prompt_logprobs": 2},
    "penalties": {"temperature": 0, "repetition_penalty": 1.3, "presence_penalty": 0.5},
    "bias": {"temperature": 0, "logit_bias": {BROKEN: -100.0, 5: 100.0}},
    "grammar": {"temperature": 0, "grammar": Grammar.choice(["ab", "abc"])},
}


@pytest.fixture(scope="module")
def broken_head(tmp_path_factory: pytest.TempPathFactory, device: str) -> LLM:
    """Every row of logits has one NaN."""
    folder = write_random_qwen2(tmp_path_factory.mktemp("head") / "m", DIMENSIONS, dtype="f32")
    write_nan(folder, "lm_head.weight", BROKEN)
    return LLM(folder, device=device, kv_capacity_tokens=512)


@pytest.fixture(scope="module")
def broken_embedding(tmp_path_factory: pytest.TempPathFactory, device: str) -> LLM:
    """All logits after one token are NaN."""
    folder = write_random_qwen2(tmp_path_factory.mktemp("embed") / "m", DIMENSIONS, dtype="f32")
    write_nan(folder, "model.embed_tokens.weight", BROKEN)
    return LLM(folder, device=device, kv_capacity_tokens=512)


def is_idle(llm: LLM) -> bool:
    engine = llm.engine
    return not engine.unfinished_requests and engine.kv_stats().used == engine.num_running == 0


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_one_nan_among_the_logits_fails_whatever_is_asked(
    broken_head: LLM, asked: dict[str, Any]
) -> None:
    params = SamplingParams(max_tokens=4, **asked)
    with pytest.raises(ArgumentError, match=f"{NAN_LOGIT} {BROKEN}; the weights"):
        broken_head.generate([1, 2, 3], params)
    assert is_idle(broken_head)


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_nan_in_a_prompt_fails_the_step_that_computes_it(
    broken_embedding: LLM, asked: dict[str, Any]
) -> None:
    params = SamplingParams(max_tokens=4, **asked)
    with pytest.raises(ArgumentError, match=NAN_LOGIT):
        broken_embedding.generate([1, BROKEN, 3], params)
    assert is_idle(broken_embedding)


def test_requests_without_the_token_are_served(broken_embedding: LLM) -> None:
    """They are served even in memory that NaN was written to."""
    params = SamplingParams(
        max_tokens=4, temperature=0, logprobs=2, ignore_eos=True, logit_bias={BROKEN: -100.0}
    )
    [before] = broken_embedding.generate([1, 2, 3], params)
    with pytest.raises(ArgumentError, match=NAN_LOGIT):
        broken_embedding.generate([BROKEN] * 200, params)
    [after] = broken_embedding.generate([1, 2, 3], params)
    assert after.outputs[0].token_ids == before.outputs[0].token_ids
    for one, other in zip(
        after.outputs[0].logprobs or [], before.outputs[0].logprobs or [], strict=True
    ):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_a_text_ends_where_nan_begins(broken_embedding: LLM) -> None:
    """The token is sampled because of its bias; the logits after it are NaN."""
    params = SamplingParams(max_tokens=4, temperature=0, logit_bias={BROKEN: 100.0})
    engine = broken_embedding.engine
    engine.add_request([1, 2, 3], params)
    seen: list[Request] = []
    while engine.unfinished_requests:
        seen += engine.step()
    request = seen[-1]
    [output] = request.output().outputs
    assert output.token_ids == [BROKEN]
    assert output.finish_reason == "error"
    assert NAN_LOGIT in str(request.error)
    assert is_idle(broken_embedding)
