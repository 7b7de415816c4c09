"""Cached blocks are found by all tokens up to their end, and by nothing less."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagegate.kv.prefix_cache import PrefixCache

SIZE = 2
QUICK = settings(max_examples=150, deadline=None)


def fill(cache: PrefixCache, tokens: list[int], blocks: list[int]) -> list[int]:
    """Insert tokens, a block for each two; the entries of those that the cache took or had."""
    return cache.extend(None, tokens[: len(blocks) * SIZE], blocks)


def blocks_of(cache: PrefixCache, tokens: list[int], max_tokens: int) -> list[int]:
    return [cache.block_of(entry) for entry in cache.match(tokens, max_tokens)]


def test_longest_cached_prefix_is_found() -> None:
    cache = PrefixCache(SIZE)
    fill(cache, [1, 2, 3, 4, 5, 6], [7, 8, 9])
    assert blocks_of(cache, [1, 2, 3, 4, 5, 6], 6) == [7, 8, 9]
    assert blocks_of(cache, [1, 2, 3, 4, 9, 9], 6) == [7, 8]
    assert blocks_of(cache, [3, 4, 5, 6], 4) == []


def test_match_takes_whole_blocks_within_the_limit() -> None:
    cache = PrefixCache(SIZE)
    fill(cache, [1, 2, 3, 4], [0, 1])
    assert blocks_of(cache, [1, 2, 3, 4], 3) == [0]
    assert blocks_of(cache, [1, 2, 3, 4], 1) == []
    assert blocks_of(cache, [1, 2, 3, 4], 0) == []


def test_same_tokens_after_another_beginning_are_another_block() -> None:
    cache = PrefixCache(SIZE)
    fill(cache, [1, 1, 5, 5], [0, 1])
    fill(cache, [2, 2, 5, 5], [2, 3])
    assert blocks_of(cache, [2, 2, 5, 5], 4) == [2, 3]


def test_content_that_is_cached_keeps_its_first_block() -> None:
    cache = PrefixCache(SIZE)
    fill(cache, [1, 2], [4])
    [entry] = cache.extend(None, [1, 2], [5])
    assert cache.block_of(entry) == 4
    assert not cache.release(5)


def test_eviction_takes_the_least_recently_used() -> None:
    cache = PrefixCache(SIZE)
    fill(cache, [1, 1], [0])
    fill(cache, [2, 2], [1])
    for block in (0, 1):
        assert cache.release(block)
    cache.acquire(0)
    assert cache.release(0)
    assert cache.evict() == [1]
    assert blocks_of(cache, [2, 2], 2) == []
    assert blocks_of(cache, [1, 1], 2) == [0]
    assert cache.evictions == 1


def test_eviction_of_a_beginning_takes_what_follows() -> None:
    cache = PrefixCache(SIZE)
    fill(cache, [1, 1, 2, 2, 3, 3], [0, 1, 2])
    assert cache.release(0)
    assert cache.release(1)
    assert sorted(cache.evict()) == [0, 1]  # block 2 is still referred to
    assert blocks_of(cache, [1, 1, 2, 2, 3, 3], 6) == []
    assert not cache.release(2)
    assert cache.num_idle == 0
    assert cache.evictions == 3


@pytest.mark.parametrize("leaves_first", [1, 2, 3])
def test_blocks_after_one_beginning_leave_one_by_one_or_with_it(leaves_first: int) -> None:
    cache = PrefixCache(SIZE)
    for block in (1, 2, 3):
        fill(cache, [0, 0, block, block], [0, block])
    others = {1, 2, 3} - {leaves_first}
    assert cache.release(leaves_first)
    assert cache.evict() == [leaves_first]
    for block in others:
        assert blocks_of(cache, [0, 0, block, block], 4) == [0, block]
    for block in (0, *others):
        assert cache.release(block)
    assert set(cache.evict()) == {0, *others}


@QUICK
@given(
    st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=8), min_size=1, max_size=12),
    st.data(),
)
def test_never_a_wrong_hit(prompts: list[list[int]], data: st.DataObject) -> None:
    cache = PrefixCache(SIZE)
    content: dict[int, list[int]] = {}
    for prompt in prompts:
        hit = blocks_of(cache, prompt, len(prompt))
        for index, block in enumerate(hit):
            assert content[block] == prompt[: (index + 1) * SIZE]
        new = [len(content) + i for i in range(len(prompt) // SIZE)]
        for index, block in enumerate(new):
            content[block] = prompt[: (index + 1) * SIZE]
        taken = fill(cache, prompt, new)
        for block in new[: len(taken)]:
            cache.release(block)
        if cache.num_idle and data.draw(st.booleans()):
            cache.evict()
