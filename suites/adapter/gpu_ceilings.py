"""What a GPU can do at best, by the engine's own calls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stagegate_harness.ceilings import Ceilings, best_seconds

_COPY_BYTES = 1 << 31
_MATRIX = 8192
_READ_ROWS = 4096
_CALLS = 10  # so that starting them is nothing beside them


def measure_gpu_ceilings() -> Ceilings:
    """The best of some repeats on the first GPU: the driver's copy, the library's product, and for
    reading the arg-max of long rows, which writes one number a row. On an H200 that is 4.38 TB/s; a
    kernel that only reads, at any number of blocks, came to 4.56.
    """
    from stagegate._C import Context, Tensor, copy, empty, ops, zeros

    context = Context("cuda")
    source = empty([_COPY_BYTES], "u8", "cuda")
    target = empty([_COPY_BYTES], "u8", "cuda")
    # Random: zeros toggle fewer bits, and a card that draws less power clocks higher.
    values = np.random.default_rng(0).standard_normal((_MATRIX, _MATRIX), dtype=np.float32)
    matrix = Tensor.from_numpy(values).to(dtype="bf16").to(device="cuda")
    product = empty([_MATRIX, _MATRIX], "bf16", "cuda")
    rows = zeros([_READ_ROWS, _COPY_BYTES // 4 // _READ_ROWS], "f32", "cuda")
    best = empty([_READ_ROWS], "i32", "cuda")

    def seconds(call: Callable[[], object]) -> float:
        def several() -> None:
            for _ in range(_CALLS):
                call()
            context.synchronize()

        several()  # loads the kernels, and times the library's proposals
        return best_seconds(several) / _CALLS

    return Ceilings(
        copy_bytes_per_s=2 * _COPY_BYTES / seconds(lambda: copy(source, target)),
        flops_per_s=2
        * _MATRIX**3
        / seconds(lambda: ops.linear(context, matrix, matrix, None, product)),
        read_bytes_per_s=_COPY_BYTES / seconds(lambda: ops.argmax(context, rows, best)),
    )
