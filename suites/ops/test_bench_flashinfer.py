"""Benchmark: attention of FlashInfer beside ours, at the heads of Qwen2-1.5B, in bf16."""

from __future__ import annotations

import pytest

from stagegate._C import Context, ops
from stagegate_harness.ceilings import Ceilings
from stagegate_harness.measure import Measure
from suites.ops.attention_batch import (
    Heads,
    assert_exact_enough,
    make_batch,
    paged_metadata,
    roundings,
    run_paged,
)
from suites.ops.operands import cold, load, poisoned

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
    q, out = load(context, batch.q, "bf16"), poisoned(context, batch.q.shape, "bf16")
    metadata = paged_metadata(context, batch)
    moved_bytes = 2 * (2 * sum(batch.context_lens) * HEADS.key * HEADS.dim + 2 * batch.q.size)
    keys_and_values = cold(
        lambda: [load(context, values, "bf16") for values in (batch.k, batch.v)], moved_bytes
    )
    pairs = sum(map(len, batch.visible()))
    measure.operator(
        lambda: ops.paged_attention(  # type: ignore[call-arg]
            context,
            q,
            *keys_and_values(),  # type: ignore[arg-type]
            *metadata,
            batch.block_size,
            batch.scale,
            out,
        ),
        ceilings,
        wait=context.synchronize,
        moved_bytes=moved_bytes,
        flops=4 * pairs * HEADS.query * HEADS.dim,
    )
    actual = run_paged(context, batch, "bf16")
    rounded_by = roundings(context, run_paged, batch, "bf16")
    assert_exact_enough(actual, batch, batch.visible(), "bf16", roundings=rounded_by)
