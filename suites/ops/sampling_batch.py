"""Rows of sampling parameters as the tensors that sample takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stagegate import _C
from stagegate._C import Context, Tensor, ops
from suites.ops.operands import Place, fetch, load, poisoned
from suites.ops.sampling_reference import Row

SCALARS = {parameter.name: parameter.dtype for parameter in _C.SAMPLING_PARAMETERS} | {
    "seed": "i64",
    "draw_index": "i64",
}


def sampling_tensors(context: Context, rows: Sequence[Row]) -> dict[str, Tensor]:
    """Keyword arguments of SamplingInputs."""
    lists: dict[str, Any] = {
        "bias_ids": [token for row in rows for token in row.bias],
        "bias_ptr": np.cumsum([0, *(len(row.bias) for row in rows)]),
    }
    tensors = {name: load(context, values, "i32") for name, values in lists.items()}
    tensors["bias_values"] = load(context, [v for row in rows for v in row.bias.values()], "f32")
    for name, dtype in SCALARS.items():
        tensors[name] = load(context, [getattr(row, name) for row in rows], dtype)
    return tensors | history_tensors(context, rows)


def history_tensors(context: Context, rows: Sequence[Row]) -> dict[str, Tensor]:
    """Lists of tokens that add up to the history of each row, in no order; none when no row has
    one. Of a generated token, the prompt may have some as well."""
    if not any(row.history for row in rows):
        return {}
    random = np.random.default_rng(len(rows))
    prompts: list[list[int]] = []
    lists: list[list[int]] = []
    for row in rows:
        in_prompt = [token for token, count in row.history.items() if count == 0 or count % 2]
        generated = [token for token, count in row.history.items() for _ in range(count)]
        prompts.append(random.permutation(in_prompt * 2).tolist())
        lists.append([*prompts[-1], *random.permutation(generated).tolist()])
    # The list of a row is another than its number, and what is behind its end is not looked at.
    tokens = np.full((len(rows), max(map(len, lists)) + 1), -1)
    for place, held in enumerate(reversed(lists)):
        tokens[place, : len(held)] = held
    places = [len(rows) - 1 - index if row.history else -1 for index, row in enumerate(rows)]
    values: dict[str, Any] = {
        "history_tokens": tokens,
        "history_prompts": [len(prompt) for prompt in reversed(prompts)],
        "history_rows": places,
        "history_lens": [len(held) for held in lists],
    }
    return {name: load(context, array, "i32") for name, array in values.items()}


def mask_tensors(context: Context, rows: Sequence[Row], vocab: int) -> dict[str, Tensor]:
    """Those of the rows that do not allow every token; none when all do."""
    masks = [row.allowed for row in rows if row.allowed is not None]
    if not masks:
        return {}
    flags = np.zeros((len(masks), -(-vocab // 32) * 32), np.uint8)
    for mask, allowed in zip(flags, masks, strict=True):
        mask[list(allowed)] = 1
    guided = np.array([row.allowed is not None for row in rows])
    return {
        "mask_index": load(context, np.where(guided, np.cumsum(guided) - 1, -1), "i32"),
        "mask_bits": load(context, np.packbits(flags, 1, "little").view(np.int32), "i32"),
    }


@dataclass(frozen=True)
class Sampled:
    token_ids: np.ndarray
    logprobs: np.ndarray
    top_ids: np.ndarray
    top_logprobs: np.ndarray


def sample(
    context: Context,
    logits: np.ndarray,
    rows: Sequence[Row],
    num_logprobs: int = 0,
    place: Place = load,
) -> Sampled:
    """logits [R, V], or [V] for the same in every row; place makes their tensor."""
    logits = np.broadcast_to(logits, (len(rows), np.shape(logits)[-1]))
    token_ids = poisoned(context, (len(rows),), "i32")
    logprobs = poisoned(context, (len(rows),), "f32")
    top_ids = poisoned(context, (len(rows), num_logprobs), "i32")
    top_logprobs = poisoned(context, (len(rows), num_logprobs), "f32")
    masks = mask_tensors(context, rows, logits.shape[1])
    ops.sample(
        context,
        place(context, logits, "f32"),
        _C.SamplingInputs(**sampling_tensors(context, rows), **masks),
        _C.SamplingOutputs(
            token_ids=token_ids, logprobs=logprobs, top_ids=top_ids, top_logprobs=top_logprobs
        ),
    )
    context.synchronize()
    return Sampled(*map(fetch, (token_ids, logprobs, top_ids, top_logprobs)))
