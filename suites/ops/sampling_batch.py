"""Rows of sampling parameters as the tensors that sample takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine import _C
from engine._C import Context, Tensor, ops
from suites.ops.operands import fetch, load, poisoned
from suites.ops.sampling_reference import Row

SCALARS = {
    "temperature": "f32",
    "top_k": "i32",
    "top_p": "f32",
    "min_p": "f32",
    "repetition_penalty": "f32",
    "presence_penalty": "f32",
    "frequency_penalty": "f32",
    "seed": "i64",
    "draw_index": "i64",
}


def sampling_tensors(context: Context, rows: Sequence[Row]) -> dict[str, Tensor]:
    """Keyword arguments of SamplingInputs."""
    lists = {
        "history_ids": [token for row in rows for token in row.history],
        "history_counts": [count for row in rows for count in row.history.values()],
        "history_ptr": np.cumsum([0, *(len(row.history) for row in rows)]),
        "bias_ids": [token for row in rows for token in row.bias],
        "bias_ptr": np.cumsum([0, *(len(row.bias) for row in rows)]),
    }
    tensors = {name: load(context, values, "i32") for name, values in lists.items()}
    tensors["bias_values"] = load(context, [v for row in rows for v in row.bias.values()], "f32")
    for name, dtype in SCALARS.items():
        tensors[name] = load(context, [getattr(row, name) for row in rows], dtype)
    return tensors


@dataclass(frozen=True)
class Sampled:
    token_ids: np.ndarray
    logprobs: np.ndarray
    top_ids: np.ndarray
    top_logprobs: np.ndarray


def sample(
    context: Context, logits: np.ndarray, rows: Sequence[Row], num_logprobs: int = 0
) -> Sampled:
    """logits [R, V], or [V] for the same in every row."""
    logits = np.broadcast_to(logits, (len(rows), np.shape(logits)[-1]))
    token_ids = poisoned(context, (len(rows),), "i32")
    logprobs = poisoned(context, (len(rows),), "f32")
    top_ids = poisoned(context, (len(rows), num_logprobs), "i32")
    top_logprobs = poisoned(context, (len(rows), num_logprobs), "f32")
    ops.sample(
        context,
        load(context, logits, "f32"),
        _C.SamplingInputs(**sampling_tensors(context, rows)),
        _C.SamplingOutputs(
            token_ids=token_ids, logprobs=logprobs, top_ids=top_ids, top_logprobs=top_logprobs
        ),
    )
    return Sampled(*map(fetch, (token_ids, logprobs, top_ids, top_logprobs)))
