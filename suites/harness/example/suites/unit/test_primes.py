import pytest
from primes import primes_below


@pytest.mark.criterion("s0.correct")
@pytest.mark.parametrize("limit", [0, 2, 3, 100])
def test_they_have_no_divisor(limit: int) -> None:
    by_definition = [n for n in range(2, limit) if all(n % divisor for divisor in range(2, n))]
    assert primes_below(limit) == by_definition
