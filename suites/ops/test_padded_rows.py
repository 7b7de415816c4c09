"""Rows of a batch without a sequence: every operator of a decode passes them over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stagegate._C import Context, ops
from suites.ops.attention_batch import Batch, Heads, make_batch, run_paged
from suites.ops.operands import fetch, load, poisoned
from suites.ops.sampling_batch import sample
from suites.ops.sampling_reference import Row

# Context lengths and queries; sequences of no tokens are padding. Around the edges of tiles.
BATCHES = {
    "decode": ([0, 300, 0, 64, 0], [1, 1, 1, 1, 1]),
    "padding alone": ([0, 0, 0], [1, 1, 1]),
    "prefill": ([0, 300, 0, 64, 7], [1, 100, 130, 64, 7]),
}
HEADS = [("f32", Heads(4, 2, 8)), ("bf16", Heads(12, 2, 128)), ("f16", Heads(28, 4, 64))]


def without_padding(batch: Batch) -> tuple[Batch, np.ndarray]:
    """The same without its padding, and which rows of q that leaves."""
    there = np.array(batch.context_lens) > 0
    rows = np.repeat(there, batch.query_lens)
    sequences = np.flatnonzero(there)
    return replace(
        batch,
        context_lens=[batch.context_lens[i] for i in sequences],
        query_lens=[batch.query_lens[i] for i in sequences],
        q=batch.q[rows],
        block_tables=batch.block_tables[there],
    ), rows


@pytest.mark.criterion("s3.decode-path")
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize(("dtype", "heads"), HEADS)
@pytest.mark.parametrize("name", BATCHES)
def test_attention_gives_zeros(
    device: str, attention: str, name: str, dtype: str, heads: Heads, deterministic: bool
) -> None:
    if attention == "flashinfer" and deterministic:
        pytest.skip("FlashInfer is never deterministic")
    context = Context(device, deterministic=deterministic, attention=attention)
    batch = make_batch(*BATCHES[name], heads)
    found = run_paged(context, batch, dtype)
    rest, rows = without_padding(batch)
    assert (found[~rows] == 0).all()
    if rows.any() and deterministic:
        np.testing.assert_array_equal(found[rows], run_paged(context, rest, dtype))
    elif rows.any():  # how keys are split may depend on the number of queries
        np.testing.assert_allclose(found[rows], run_paged(context, rest, dtype), atol=0.02)


PADDED = Row(temperature=-1.0, top_p=7.0, draw_index=-1)
ROWS = [
    Row(temperature=0.0),
    PADDED,
    Row(seed=3, top_k=5),
    PADDED,
    Row(temperature=0.5, top_p=0.7, repetition_penalty=1.5, history={3: 1}),
]


@pytest.mark.parametrize("vocab", [33, 5000])
@pytest.mark.parametrize("num_logprobs", [0, 4])
def test_sampling_gives_zeros(context: Context, vocab: int, num_logprobs: int) -> None:
    """Whatever its parameters and logits are."""
    logits = np.random.default_rng(vocab).standard_normal((len(ROWS), vocab)).astype(np.float32)
    logits[1] = np.nan
    logits[3] = -np.inf
    found = sample(context, logits, ROWS, num_logprobs)
    for values in (found.token_ids, found.logprobs, found.top_ids, found.top_logprobs):
        assert (values[[1, 3]] == 0).all()
    there = [0, 2, 4]
    expected = sample(context, logits[there], [ROWS[row] for row in there], num_logprobs)
    for name in ("token_ids", "logprobs", "top_ids", "top_logprobs"):
        np.testing.assert_array_equal(getattr(found, name)[there], getattr(expected, name))


def test_keys_and_values_are_not_written(context: Context) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    cache = poisoned(context, (2, 2, 2), "f32")
    k = load(context, values, "f32")
    ops.kv_write(context, k, k, load(context, [-1, 1, -1], "i32"), cache, cache)
    context.synchronize()
    found = fetch(cache)
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1], values[1])
