"""Blocks: what a sequence reads is what was computed for its tokens, and nothing leaks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from stagegate.core.sequence import Sequence, SequenceStatus
from stagegate.errors import ConfigError
from stagegate.kv.block_manager import BlockManager
from stagegate.kv.manager import KVManager
from stagegate.kv.metadata import PagedMetadata
from stagegate.kv.prefix_cache import PrefixCache
from stagegate.sampling import SamplingParams
from suites.engine.attention_rows import visible_slots

STATEFUL = settings(max_examples=60, stateful_step_count=40, deadline=None)


def sequence(seq_id: int, tokens: list[int]) -> Sequence:
    return Sequence(seq_id, tokens, SamplingParams(), eos_token_ids=(), seed=0, max_tokens=100)


def begin(kv: KVManager, member: Sequence) -> int:
    return kv.begin(
        member.seq_id,
        member.token_ids,
        max_cached=member.first_logits_position,
        is_first=member.status is not SequenceStatus.PREEMPTED,
    )


def manager(
    capacity: int = 32, block_size: int = 4, attention_backend: str = "native"
) -> BlockManager:
    cache = PrefixCache(block_size)
    return BlockManager(
        capacity, block_size=block_size, attention_backend=attention_backend, prefix_cache=cache
    )


def run(kv: BlockManager, member: Sequence) -> int:
    """Compute all tokens of a sequence; how many were cached."""
    cached = begin(kv, member)
    assert kv.grow(member.seq_id, member.num_tokens)
    kv.commit(member.seq_id, member.token_ids, member.num_tokens)
    return cached


def test_capacity_is_whole_blocks() -> None:
    kv = BlockManager(35, block_size=16)
    assert kv.capacity_tokens == kv.num_slots == 32
    with pytest.raises(ConfigError, match="capacity_tokens=15"):
        BlockManager(15, block_size=16)


def test_grow_is_all_or_nothing() -> None:
    kv = BlockManager(8, block_size=4)
    begin(kv, sequence(1, [1]))
    begin(kv, sequence(2, [1]))
    assert kv.grow(1, 4)
    assert not kv.grow(2, 5)
    assert kv.stats().used == 4
    assert kv.grow(2, 4)
    assert not kv.grow(1, 5)
    assert kv.grow(1, 3)  # it has more than that
    assert len(kv.slots(1, 0, 4)) == 4


def test_second_sequence_shares_the_blocks_of_the_first() -> None:
    kv = manager()
    run(kv, sequence(1, [1, 2, 3, 4, 5, 6, 7, 8, 9]))
    assert run(kv, sequence(2, [1, 2, 3, 4, 5, 6, 7, 8, 10, 11])) == 8
    assert kv.slots(1, 0, 8).tolist() == kv.slots(2, 0, 8).tolist()
    assert kv.slots(1, 8, 9) != kv.slots(2, 8, 9)
    assert kv.stats().used == 16


def test_the_last_token_is_always_computed() -> None:
    kv = manager()
    run(kv, sequence(1, list(range(8))))
    assert run(kv, sequence(2, list(range(8)))) == 4


def test_blocks_are_shared_only_once_computed() -> None:
    kv = manager()
    first = sequence(1, list(range(9)))
    begin(kv, first)
    assert kv.grow(1, 9)
    kv.commit(first.seq_id, first.token_ids, 7)
    assert begin(kv, sequence(2, list(range(9)))) == 4


def test_cached_blocks_outlive_their_sequence_until_room_is_needed() -> None:
    kv = manager(capacity=16)
    run(kv, sequence(1, list(range(9))))
    kv.free(1)
    assert kv.stats().used == 0
    assert run(kv, sequence(2, list(range(9)))) == 8
    kv.free(2)
    assert run(kv, sequence(3, list(range(50, 66)))) == 0
    assert kv.stats().evictions == 2
    kv.free(3)
    assert begin(kv, sequence(4, list(range(9)))) == 0


def test_a_duplicate_goes_on_being_cached_after_the_original_is_evicted() -> None:
    kv = manager(capacity=16)
    original, duplicate = sequence(1, [0, 1, 2, 3]), sequence(2, [0, 1, 2, 3, 4, 5, 6, 7])
    for member in (original, duplicate):  # both begin before either is computed
        begin(kv, member)
        assert kv.grow(member.seq_id, member.num_tokens)
    kv.commit(original.seq_id, original.token_ids, 4)
    kv.commit(duplicate.seq_id, duplicate.token_ids, 4)
    kv.free(1)
    begin(kv, sequence(3, [9] * 8))
    assert kv.grow(3, 8)  # takes the block of the original
    assert kv.stats().evictions == 1
    kv.commit(duplicate.seq_id, duplicate.token_ids, 8)
    kv.free(3)
    assert begin(kv, sequence(4, [0, 1, 2, 3, 4, 5, 6, 7, 8])) == 8


def test_statistics_count_an_admission_once_and_when_it_succeeds() -> None:
    kv = manager(capacity=16)
    run(kv, sequence(1, list(range(9))))
    late = sequence(2, [*range(8), *range(20, 26)])
    assert begin(kv, late) == 8
    assert not kv.grow(2, 14)
    kv.free(2)
    assert (kv.stats().prefix_hits, kv.stats().prefix_misses) == (0, 1)
    kv.free(1)
    begin(kv, late)
    assert kv.grow(2, 14)
    assert kv.grow(2, 15)
    kv.commit(late.seq_id, late.token_ids, 14)
    kv.free(2)
    late.status = SequenceStatus.PREEMPTED
    begin(kv, late)
    assert kv.grow(2, 14)
    stats = kv.stats()
    assert (stats.prefix_hits, stats.prefix_misses, stats.prefix_saved_tokens) == (1, 1, 8)
    assert (stats.peak, stats.capacity) == (16, 16)


def test_truncate_gives_back_room_but_never_computed_tokens() -> None:
    kv = manager(capacity=16)
    member = sequence(1, list(range(6)))
    run(kv, member)
    assert kv.grow(1, 16)
    kv.truncate(1, 6)
    assert kv.stats().used == 8
    with pytest.raises(IndexError, match="has 6 slots"):
        kv.slots(1, 0, 7)
    with pytest.raises(ValueError, match="cannot be cut to 5"):
        kv.truncate(1, 5)


def test_misuse_is_named() -> None:
    kv = manager()
    member = sequence(1, [1, 2])
    begin(kv, member)
    with pytest.raises(ValueError, match="sequence 1 is in the cache already"):
        begin(kv, member)
    with pytest.raises(ValueError, match="room for 0 tokens"):
        kv.commit(member.seq_id, member.token_ids, 2)
    with pytest.raises(KeyError):
        kv.grow(9, 1)


def test_block_tables_are_padded_with_the_last_block() -> None:
    kv = BlockManager(32, block_size=4)
    for seq_id, length in ((1, 3), (2, 9)):
        begin(kv, sequence(seq_id, list(range(length))))
        assert kv.grow(seq_id, length)
    metadata = kv.attention_metadata([1, 2], [0, 8], [3, 9])
    assert isinstance(metadata, PagedMetadata)
    assert metadata.block_tables.dtype == np.int32
    assert metadata.block_tables.tolist() == [[0, 0, 0], [1, 2, 3]]


class BlockMachine(RuleBasedStateMachine):
    """A storage in which every slot remembers the whole prefix it was computed for."""

    SIZE = 2
    NUM_BLOCKS = 7

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, Sequence] = {}
        self.room: dict[int, int] = {}
        self.computed: dict[int, int] = {}
        self.storage: dict[int, tuple[int, ...]] = {}
        self.next_id = 0

    @initialize(attention_backend=st.sampled_from(["native", "csr"]))
    def start(self, attention_backend: str) -> None:
        self.kv = BlockManager(
            self.SIZE * self.NUM_BLOCKS,
            block_size=self.SIZE,
            attention_backend=attention_backend,
            prefix_cache=PrefixCache(self.SIZE),
        )

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=12))
    def begin(self, tokens: list[int]) -> None:
        member = sequence(self.next_id, tokens)
        self.next_id += 1
        num_cached = begin(self.kv, member)
        assert num_cached % self.SIZE == 0
        assert num_cached < len(tokens)
        self.live[member.seq_id] = member
        self.room[member.seq_id] = self.computed[member.seq_id] = num_cached

    def pick(self, data: st.DataObject) -> Sequence:
        return self.live[data.draw(st.sampled_from(sorted(self.live)))]

    def blocks_held(self) -> set[int]:
        return {
            slot // self.SIZE
            for seq_id, room in self.room.items()
            for slot in self.kv.slots(seq_id, 0, room).tolist()
        }

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def grow(self, data: st.DataObject) -> None:
        member = self.pick(data)
        wanted = data.draw(st.integers(1, member.num_tokens))
        blocks = -(-wanted // self.SIZE) + (-self.room[member.seq_id] // self.SIZE)
        fits = blocks <= self.NUM_BLOCKS - len(self.blocks_held())
        assert self.kv.grow(member.seq_id, wanted) == fits
        if fits:
            self.room[member.seq_id] = max(self.room[member.seq_id], wanted)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def compute(self, data: st.DataObject) -> None:
        member = self.pick(data)
        start = self.computed[member.seq_id]
        stop = data.draw(st.integers(start, self.room[member.seq_id]))
        new = self.kv.slots(member.seq_id, start, stop).tolist()
        for position, slot in enumerate(new, start):
            self.storage[slot] = tuple(member.token_ids[: position + 1])
        self.computed[member.seq_id] = stop
        self.kv.commit(member.seq_id, member.token_ids, stop)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        member = self.pick(data)
        room = self.room[member.seq_id]
        size = data.draw(st.integers(self.computed[member.seq_id], room))
        self.kv.truncate(member.seq_id, size)
        self.room[member.seq_id] = size

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        member = self.pick(data)
        self.kv.free(member.seq_id)
        del self.live[member.seq_id], self.room[member.seq_id], self.computed[member.seq_id]

    @precondition(lambda self: any(self.computed.values()))
    @rule(data=st.data())
    def attend(self, data: st.DataObject) -> None:
        ids = [seq_id for seq_id in self.live if self.computed[seq_id]]
        lengths = [self.computed[seq_id] for seq_id in ids]
        starts = [data.draw(st.integers(0, length - 1)) for length in lengths]
        expected = [
            sorted(self.kv.slots(seq_id, 0, position + 1).tolist())
            for seq_id, start, length in zip(ids, starts, lengths, strict=True)
            for position in range(start, length)
        ]
        metadata = self.kv.attention_metadata(ids, starts, lengths)
        assert visible_slots(metadata, starts, lengths) == expected

    @invariant()
    def computed_tokens_are_intact(self) -> None:
        for member in self.live.values():
            slots = self.kv.slots(member.seq_id, 0, self.computed[member.seq_id]).tolist()
            for position, slot in enumerate(slots):
                assert self.storage[slot] == tuple(member.token_ids[: position + 1])

    @invariant()
    def room_not_yet_computed_is_private(self) -> None:
        private: set[int] = set()
        for seq_id, member in self.live.items():
            slots = set(
                self.kv.slots(seq_id, self.computed[member.seq_id], self.room[seq_id]).tolist()
            )
            assert not slots & private
            private |= slots
        for seq_id, member in self.live.items():
            assert not private & set(
                self.kv.slots(seq_id, 0, self.computed[member.seq_id]).tolist()
            )

    @invariant()
    def used_is_what_live_sequences_hold(self) -> None:
        if hasattr(self, "kv"):
            assert self.kv.stats().used == len(self.blocks_held()) * self.SIZE

    def teardown(self) -> None:
        if not hasattr(self, "kv"):
            return
        for seq_id in self.live:
            self.kv.free(seq_id)
        assert self.kv.stats().used == 0
        begin(self.kv, sequence(-1, [2] * self.SIZE * self.NUM_BLOCKS))
        assert self.kv.grow(-1, self.SIZE * self.NUM_BLOCKS)
        everything = self.kv.slots(-1, 0, self.SIZE * self.NUM_BLOCKS).tolist()
        assert sorted(everything) == list(range(self.kv.num_slots))


def test_block_manager_against_a_storage_that_remembers() -> None:
    run_state_machine_as_test(BlockMachine, settings=STATEFUL)
