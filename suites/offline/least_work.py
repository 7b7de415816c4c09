"""The least that a device must read and compute for requests, and the share of its limit in that.

Of a decoder with L layers, H hidden units, N query heads, K key heads of width D and V tokens:

- Weights are read once a step: all of them but the embedding, of which a step reads some rows; with
  tied embeddings the same matrix is the head, and counts. Two operations are made for each element
  of a layer's matrices and each token, and 2 V H for each row of logits.
- A token has 2 L K D numbers in the KV cache. They are written once, and each decode step reads
  those of all tokens before it. Prefill reads none: its keys and values need not leave the chip.
- Attention makes 4 L N D operations for each query and each key that it sees; query t of a sequence
  sees t keys, which makes P (P + 1) / 2 pairs for P tokens (Dao et al., FlashAttention, 2022, count
  the same).
- Requests that arrive together take at least as many steps as the longest output has tokens.

Activations, logits and metadata stay in caches or are small, and are left out. Every term is the
least: a device can be slower than its limit, not faster. Which of the two limits is nearer decides,
as in the roofline model (Williams et al., 2009).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stagegate.kv.sizing import kv_bytes_per_token
from stagegate.models.model_config import ModelConfig
from stagegate.models.tensor_map import TensorMap
from stagegate_harness.ceilings import Ceilings
from suites.offline.throughput_cases import Request, ThroughputCase

_ITEM_BYTES = {"f32": 4, "f16": 2, "bf16": 2}


@dataclass(frozen=True)
class Work:
    """Bytes to read or write in the device's memory, and operations."""

    moved_bytes: int
    flops: int

    def __add__(self, other: Work) -> Work:
        return Work(self.moved_bytes + other.moved_bytes, self.flops + other.flops)

    def __sub__(self, other: Work) -> Work:
        return Work(self.moved_bytes - other.moved_bytes, self.flops - other.flops)

    def shares(self, seconds: float | None, ceilings: Ceilings) -> dict[str, float | None]:
        """Of what the machine could read and compute in that time. The larger one is the share of
        the limit. None of a time that is not known."""
        if seconds is None:
            return {"share_of_read": None, "share_of_matmul": None}
        return {
            "share_of_read": self.moved_bytes / seconds / ceilings.read_bytes_per_s,
            "share_of_matmul": self.flops / seconds / ceilings.flops_per_s,
        }


def step_weight_bytes(model: ModelConfig) -> int:
    """Bytes of the weights that every step reads."""
    names = TensorMap.of(model)
    embedding = 0 if model.decoder.tie_word_embeddings else math.prod(names.shapes[names.embedding])
    every = sum(math.prod(shape) for shape in names.shapes.values())
    return _ITEM_BYTES[model.dtype] * (every - embedding)


def least_work(model: ModelConfig, requests: Sequence[Request]) -> Work:
    """Of requests that arrive together, from their prompts to their last tokens."""
    decoder = model.decoder
    steps = max(request.output_len for request in requests)
    moved_bytes = steps * step_weight_bytes(model)
    names = TensorMap.of(model)
    ends = (names.embedding, names.head)
    layer_elements = sum(
        math.prod(shape)
        for name, shape in names.shapes.items()
        if len(shape) == 2 and name not in ends
    )
    per_pair = 4 * decoder.num_layers * decoder.num_heads * decoder.head_dim
    flops = 0
    for request in requests:
        decoded = request.output_len - 1
        computed = request.prompt_len + decoded  # the last token is never an input
        read = decoded * request.prompt_len + decoded * (decoded - 1) // 2
        moved_bytes += kv_bytes_per_token(decoder, model.dtype) * (read + computed)
        flops += 2 * layer_elements * computed + per_pair * computed * (computed + 1) // 2
        flops += 2 * decoder.vocab_size * decoder.hidden_size * request.output_len
    return Work(moved_bytes, flops)


def case_work(model: ModelConfig, case: ThroughputCase) -> Work:
    """Of what a case measures."""
    whole = least_work(model, case.requests)
    return whole - least_work(model, case.one_token().requests) if case.decode_only else whole


def decode_work(model: ModelConfig, batch: int, context_len: int, steps: int) -> Work:
    """Of decode steps of sequences that end with `context_len` tokens."""
    request = Request(context_len - steps, steps + 1)
    first = Request(context_len - steps, 1)
    return least_work(model, [request] * batch) - least_work(model, [first] * batch)
