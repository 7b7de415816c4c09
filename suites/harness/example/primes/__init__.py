"""Prime numbers."""


def primes_below(limit: int) -> list[int]:
    """All primes less than `limit`, in order, by the sieve of Eratosthenes."""
    sieve = bytearray([1]) * max(limit, 2)
    sieve[0] = sieve[1] = 0
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            multiples = range(number * number, limit, number)
            sieve[number * number : limit : number] = bytes(len(multiples))
    return [number for number in range(limit) if sieve[number]]
