"""Ways to run the same prompts that must not change a token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stagegate import LLM, RequestOutput, SamplingParams
from suites.parity.prompts import NEW_TOKENS

GREEDY = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True)

Prompts = list[list[int]]
Tokens = list[list[int]]


def alone(model: Path, prompts: Prompts, settings: dict[str, Any]) -> Tokens:
    """One request at a time."""
    llm = LLM(model, enable_prefix_cache=False, **settings)
    return [_tokens(llm.generate([prompt], GREEDY))[0] for prompt in prompts]


def mixed(model: Path, prompts: Prompts, settings: dict[str, Any]) -> Tokens:
    """All at once: prompts of different lengths share steps."""
    return _tokens(LLM(model, enable_prefix_cache=False, **settings).generate(prompts, GREEDY))


def prefix_hits(model: Path, prompts: Prompts, settings: dict[str, Any]) -> Tokens:
    """A second time, behind what the prefix cache kept of the first."""
    llm = LLM(model, block_size=8, **settings)
    llm.generate(prompts, GREEDY)
    outputs = llm.generate(prompts, GREEDY)
    if llm.engine.config.kv_layout == "block":
        cached = [output.usage.cached_tokens for output in outputs]
        assert cached == [(len(prompt) - 1) // 8 * 8 for prompt in prompts]
    return _tokens(outputs)


def small_chunks(model: Path, prompts: Prompts, settings: dict[str, Any]) -> Tokens:
    """Prompts cut into pieces of at most nine tokens, between decodes of the others."""
    return _tokens(LLM(model, max_num_batched_tokens=9, **settings).generate(prompts, GREEDY))


def preempted(model: Path, prompts: Prompts, settings: dict[str, Any]) -> Tokens:
    """Too little memory for all, so sequences are thrown out and computed again."""
    room = max(map(len, prompts)) + NEW_TOKENS + 16
    llm = LLM(model, **{**settings, "kv_capacity_tokens": room})
    outputs = llm.generate(prompts, GREEDY)
    assert llm.engine.num_preemptions > 0
    return _tokens(outputs)


SCHEDULES: dict[str, Callable[[Path, Prompts, dict[str, Any]], Tokens]] = {
    "alone": alone,
    "mixed": mixed,
    "prefix-hits": prefix_hits,
    "small-chunks": small_chunks,
    "preempted": preempted,
}


def _tokens(outputs: list[RequestOutput]) -> Tokens:
    return [output.outputs[0].token_ids for output in outputs]
