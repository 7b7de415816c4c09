"""Benchmark: attention of FlashInfer beside ours, at the heads of Qwen2-1.5B, in bf16."""

from __future__ import annotations

import pytest

from engine._C import Context, ops
from suites.harness.ceilings import Ceilings
from suites.harness.measure import Measure
from suites.ops.operands import load, poisoned
from suites.ops.test_attention import (
    Heads,
    assert_exact_enough,
    make_batch,
    roundings,
    run_paged,
)

HEADS = Heads(12, 2, 128)
CASES = {
    "decode-1": ([1024], [1]),
    "decode-8": ([1024] * 8, [1] * 8),
    "decode-64": ([1024] * 64, [1] * 64),
    "decode-uneven": ([8192, *[128] * 31], [1] * 32),
    "prefill-512": ([512], [512]),
    "prefill-2048": ([2048], [2048]),
}

pytestmark = [pytest.mark.benchmark(group="operators"), pytest.mark.requires_flashinfer]


@pytest.mark.parametrize("kernels", ["native", "flashinfer"])
@pytest.mark.parametrize("name", CASES)
def test_paged_attention(measure: Measure, ceilings: Ceilings, name: str, kernels: str) -> None:
    """A call of FlashInfer makes its plan, as it does in each layer of an engine."""
    context = Context("cuda", attention=kernels)
    batch = make_batch(*CASES[name], HEADS)
    operands = [load(context, values, "bf16") for values in (batch.q, batch.k, batch.v)]
    metadata = [
        load(context, values, "i32")
        for values in (batch.block_tables, batch.context_lens, batch.cu_seqlens_q)
    ]
    out = poisoned(context, batch.q.shape, "bf16")
    keys = sum(batch.context_lens)
    pairs = sum(map(len, batch.visible()))
    measure.operator(
        lambda: ops.paged_attention(
            context, *operands, *metadata, batch.block_size, batch.scale, out
        ),
        ceilings,
        wait=context.synchronize,
        moved_bytes=2 * (2 * keys * HEADS.key * HEADS.dim + 2 * batch.q.size),
        flops=4 * pairs * HEADS.query * HEADS.dim,
    )
    actual = run_paged(context, batch, "bf16")
    rounded_by = roundings(context, run_paged, batch, "bf16")
    assert_exact_enough(actual, batch, batch.visible(), "bf16", roundings=rounded_by)
