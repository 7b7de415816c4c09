import time

import pytest
from primes import primes_below

LIMIT = 200_000


@pytest.mark.criterion("s0.measured")
def test_sieve(measure) -> None:
    """A round brings metrics of its own; pyproject.toml says what the name stands for."""

    def work(index: int) -> dict[str, float]:
        began = time.perf_counter()
        found = len(primes_below(LIMIT))
        return {"primes_per_s": found / (time.perf_counter() - began)}

    measure(work)


def test_small_sieve(benchmark) -> None:
    """A benchmark of pytest-benchmark alone is a case too, by the time of a call."""
    benchmark(primes_below, 10_000)
