"""Comparison of greedy answers of two runs whose arithmetic may differ in the last bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stagegate.config import EngineConfig
from stagegate.outputs import CompletionOutput


def near_tie(config: EngineConfig) -> float:
    """How near two tokens must be for either to be the right one: ln of their probabilities' ratio.

    Blocks under a deterministic engine give the same bits in any company. The CSR form sums
    attention in the order of slots, which depends on it. A library of matrix products may take
    another algorithm for another number of rows, which moves every activation: logits of Qwen2
    reach 30, where two neighbours in bf16 are 0.125 apart, and a difference is of two of them.
    """
    if not config.deterministic:
        return 0.25
    return 0.1 if config.kv_layout == "slot" or config.attention_backend == "csr" else 0.0


def is_same_answer(tokens: Sequence[int], alone: CompletionOutput, tolerance: float) -> bool:
    """Compares up to the first near tie; the text after it may differ.

    alone: the same request with log-probabilities, run by itself.
    """
    assert alone.logprobs is not None
    for token, known in zip(tokens, alone.logprobs, strict=True):
        if token != known.token_id:
            likely = dict(known.top).get(token, -np.inf)
            return known.logprob - likely < tolerance
    return True
