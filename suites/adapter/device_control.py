"""A fixed piece of GPU work beside every round: what it takes says how busy the GPU is."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np

# Together a few hundred microseconds on an H100: long beside what it costs to start them.
_COPY_BYTES = 1 << 27
_TOKENS = 512
_HEADS, _HEAD_DIM = 16, 128
# Starting them jitters; the median does not.
_REPEATS = 5


def device_control() -> Callable[[], float]:
    """Measures the seconds of a copy and an attention of fixed sizes on the first GPU.

    The copy feels who shares the memory, the attention who shares the processors, and both the
    clocks. Neither goes through a library that chooses its algorithm by timing it. Memory is held
    as long as what is returned.
    """
    from stagegate._C import Context, Tensor, copy, empty, ops

    context = Context("cuda")
    source, target = (empty([_COPY_BYTES], "u8", "cuda") for _ in range(2))
    # Random: zeros toggle fewer bits, and a card that draws less power clocks higher.
    values = np.random.default_rng(0).standard_normal(
        (_TOKENS, _HEADS, _HEAD_DIM), dtype=np.float32
    )
    states = Tensor.from_numpy(values).to(dtype="bf16").to(device="cuda")
    out = empty([_TOKENS, _HEADS, _HEAD_DIM], "bf16", "cuda")

    def work() -> None:
        copy(source, target)
        ops.self_attention(context, states, states, states, _HEAD_DIM**-0.5, out)

    return timed(work, context.synchronize)


def timed(work: Callable[[], object], wait: Callable[[], object]) -> Callable[[], float]:
    """Measures the seconds that work takes: the median of a few times, after one to warm up.

    wait: returns when what was queued has run.
    """

    def seconds() -> float:
        wait()
        began = time.perf_counter()
        work()
        wait()
        return time.perf_counter() - began

    seconds()
    return lambda: median(seconds() for _ in range(_REPEATS))
