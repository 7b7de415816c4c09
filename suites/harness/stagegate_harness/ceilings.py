"""What this machine can do at best, measured in the run it is compared with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

# Far beyond the caches of today's processors, each.
_COPY_BYTES = 1 << 28
_MATRIX = 1536
_REPEATS = 5


@dataclass(frozen=True)
class Ceilings:
    """copy_bytes_per_s: bytes read and written by a copy.

    flops_per_s: of a matrix product, in f32 on a CPU and in bf16 on a GPU.
    read_bytes_per_s: of what is only read.
    """

    copy_bytes_per_s: float
    flops_per_s: float
    read_bytes_per_s: float


def measure_ceilings(num_threads: int) -> Ceilings:
    """The best of some repeats, on the processors of this process."""
    return Ceilings(
        copy_bytes_per_s=2 * _COPY_BYTES / _copy_seconds(num_threads),
        flops_per_s=2 * _MATRIX**3 / _product_seconds(),
        read_bytes_per_s=_COPY_BYTES / _read_seconds(num_threads),
    )


def _copy_seconds(num_threads: int) -> float:
    source = np.ones(_COPY_BYTES // 8)
    target = np.zeros_like(source)  # touched: the first write to a page is not a copy
    return _side_by_side(
        [partial(np.copyto, target[piece], source[piece]) for piece in _pieces(source, num_threads)]
    )


def _read_seconds(num_threads: int) -> float:
    """Of a maximum: it writes nothing, and compares faster than memory delivers."""
    source = np.ones(_COPY_BYTES // 8)
    return _side_by_side([partial(np.max, source[piece]) for piece in _pieces(source, num_threads)])


def _pieces(array: npt.NDArray[np.float64], count: int) -> list[slice]:
    bounds = np.linspace(0, len(array), count + 1, dtype=int)
    return list(map(slice, bounds[:-1], bounds[1:]))


def _side_by_side(parts: Sequence[Callable[[], object]]) -> float:
    with ThreadPoolExecutor(len(parts)) as pool:  # numpy works without the interpreter's lock
        return best_seconds(lambda: list(pool.map(lambda part: part(), parts)))


def _product_seconds() -> float:
    random = np.random.default_rng(0)
    left, right = random.standard_normal((2, _MATRIX, _MATRIX), dtype=np.float32)
    return best_seconds(lambda: left @ right)  # on the threads its library was told to use


def best_seconds(call: Callable[[], object]) -> float:
    """Of some repeats."""
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)
