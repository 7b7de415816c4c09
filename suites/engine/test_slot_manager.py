"""Cells: allocation, sharing and visibility as the slot layout defines them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from stagegate.errors import ConfigError
from stagegate.kv.slot_manager import SlotManager
from suites.engine.attention_rows import visible_slots

STATEFUL = settings(max_examples=80, stateful_step_count=40, deadline=None)


def begin(kv: SlotManager, seq_id: int) -> int:
    return kv.begin(seq_id, [0], max_cached=0, is_first=True)


def started(capacity: int, **lengths: int) -> SlotManager:
    """Sequences 1, 2, ... of the given lengths."""
    kv = SlotManager(capacity)
    for seq_id, length in enumerate(lengths.values(), 1):
        assert begin(kv, seq_id) == 0
        assert kv.grow(seq_id, length)
    return kv


def test_capacity_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="got 0"):
        SlotManager(0)


def test_grow_is_all_or_nothing() -> None:
    kv = started(5, a=3)
    begin(kv, 2)
    assert not kv.grow(2, 3)
    assert kv.stats().used == 3
    assert kv.grow(2, 2)
    assert kv.stats().used == kv.stats().peak == 5


def test_allocation_goes_round_the_free_cells() -> None:
    kv = started(6, a=2, b=2, c=2)
    kv.free(1)
    kv.free(3)
    begin(kv, 4)
    assert kv.grow(4, 1)
    assert kv.slots(4, 0, 1).tolist() == [0]
    assert kv.grow(4, 3)
    assert kv.slots(4, 0, 3).tolist() == [0, 1, 4]
    kv.truncate(4, 1)
    assert kv.grow(4, 2)  # the cursor goes on, it does not return to the cells just freed
    assert kv.slots(4, 0, 2).tolist() == [0, 5]


def test_allocation_finds_cells_in_a_large_storage() -> None:
    kv = started(1000, a=400, b=200, c=400)
    kv.free(1)
    kv.free(3)
    begin(kv, 4)
    assert kv.grow(4, 800)
    assert sorted(kv.slots(4, 0, 800)) == [*range(400), *range(600, 1000)]
    assert not kv.grow(4, 801)


def test_copied_cells_live_until_their_last_sequence_goes() -> None:
    kv = started(8, a=4)
    kv.seq_cp(1, 2, 0, 3)
    assert kv.seq_pos_max(2) == 2
    assert kv.grow(2, 4)
    assert kv.slots(2, 0, 3).tolist() == kv.slots(1, 0, 3).tolist()
    assert kv.stats().used == 5
    kv.free(1)
    assert kv.stats().used == 4
    kv.seq_rm(2, 0, None)
    assert kv.stats().used == 0
    assert kv.seq_pos_max(2) == -1


def test_copy_refuses_positions_the_target_has() -> None:
    kv = started(8, a=4, b=2)
    with pytest.raises(ValueError, match="sequence 2 ends at position 1, cannot attach from 0"):
        kv.seq_cp(1, 2)
    kv.seq_cp(1, 2, 2)
    assert kv.slots(2, 2, 4).tolist() == kv.slots(1, 2, 4).tolist()


def test_removed_positions_are_not_seen() -> None:
    kv = started(8, a=4)
    cells = kv.slots(1, 0, 4).tolist()
    kv.seq_rm(1, 1, 2)
    assert kv.seq_pos_max(1) == 3
    with pytest.raises(IndexError, match="positions removed"):
        kv.slots(1, 0, 4)
    metadata = kv.attention_metadata([1], [3], [4])
    assert visible_slots(metadata, [3], [4]) == [[cells[0], cells[2], cells[3]]]


def test_shift_is_refused() -> None:
    kv = started(8, a=4)
    with pytest.raises(ValueError, match="rotated again"):
        kv.seq_add(1, 0, None, 2)


def test_metadata_is_int32() -> None:
    metadata = started(8, a=4, b=3).attention_metadata([2, 1], [0, 3], [3, 4])
    for array in (metadata.used_slots, metadata.row_ptr, metadata.col_idx):
        assert array.dtype == np.int32
    assert metadata.row_ptr.tolist() == [0, 1, 3, 6, 10]


class CellMachine(RuleBasedStateMachine):
    """Against cells kept the plain way: each a position and a set of sequence ids."""

    CAPACITY = 12

    def __init__(self) -> None:
        super().__init__()
        self.kv = SlotManager(self.CAPACITY)
        self.positions = [0] * self.CAPACITY
        self.owners: list[set[int]] = [set() for _ in range(self.CAPACITY)]
        self.ids: list[int] = []
        self.next_id = 0

    def cells(self, seq_id: int) -> dict[int, int]:
        """Position to cell."""
        return {
            self.positions[cell]: cell
            for cell, owners in enumerate(self.owners)
            if seq_id in owners
        }

    def pos_max(self, seq_id: int) -> int:
        return max(self.cells(seq_id), default=-1)

    @rule()
    def begin(self) -> None:
        begin(self.kv, self.next_id)
        self.ids.append(self.next_id)
        self.next_id += 1

    @precondition(lambda self: self.ids)
    @rule(data=st.data(), extra=st.integers(0, 6))
    def grow(self, data: st.DataObject, extra: int) -> None:
        seq_id = data.draw(st.sampled_from(self.ids))
        first = self.pos_max(seq_id) + 1
        fits = extra <= sum(not owners for owners in self.owners)
        assert self.kv.grow(seq_id, first + extra) == fits
        if fits:
            for position, cell in enumerate(
                self.kv.slots(seq_id, first, first + extra).tolist(), first
            ):
                assert not self.owners[cell]
                self.owners[cell].add(seq_id)
                self.positions[cell] = position

    @precondition(lambda self: self.ids)
    @rule(data=st.data(), fresh=st.booleans())
    def copy(self, data: st.DataObject, fresh: bool) -> None:
        source = data.draw(st.sampled_from(self.ids))
        target = self.next_id if fresh else data.draw(st.sampled_from(self.ids))
        # Removed positions leave gaps, so positions may run past the number of cells.
        start = self.pos_max(target) + 1 + data.draw(st.integers(0, 3))
        stop = data.draw(st.none() | st.integers(start, start + 12))
        self.kv.seq_cp(source, target, start, stop)
        if fresh:
            self.ids.append(target)
            self.next_id += 1
        for position, cell in self.cells(source).items():
            if start <= position < (math.inf if stop is None else stop):
                self.owners[cell].add(target)

    @precondition(lambda self: self.ids)
    @rule(data=st.data(), start=st.integers(0, 8), stop=st.none() | st.integers(0, 12))
    def remove(self, data: st.DataObject, start: int, stop: int | None) -> None:
        seq_id = data.draw(st.sampled_from(self.ids))
        self.kv.seq_rm(seq_id, start, stop)
        for position, cell in self.cells(seq_id).items():
            if start <= position < (math.inf if stop is None else stop):
                self.owners[cell].discard(seq_id)

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        seq_id = data.draw(st.sampled_from(self.ids))
        self.kv.free(seq_id)
        self.ids.remove(seq_id)
        for owners in self.owners:
            owners.discard(seq_id)

    @precondition(lambda self: len(self.ids) > 1)
    @rule(data=st.data())
    def keep(self, data: st.DataObject) -> None:
        seq_id = data.draw(st.sampled_from(self.ids))
        self.kv.seq_keep(seq_id)
        self.ids = [seq_id]
        for owners in self.owners:
            owners &= {seq_id}

    @precondition(lambda self: any(self.pos_max(i) >= 0 for i in self.ids))
    @rule()
    def attend(self) -> None:
        """The newest token of every sequence sees occupied cells up to its own position."""
        ids = [seq_id for seq_id in self.ids if self.pos_max(seq_id) >= 0]
        starts = [self.pos_max(seq_id) for seq_id in ids]
        lengths = [start + 1 for start in starts]
        expected = [
            [
                cell
                for cell, owners in enumerate(self.owners)
                if seq_id in owners and self.positions[cell] <= position
            ]
            for seq_id, position in zip(ids, starts, strict=True)
        ]
        metadata = self.kv.attention_metadata(ids, starts, lengths)
        assert visible_slots(metadata, starts, lengths) == expected

    @invariant()
    def positions_and_occupation_agree(self) -> None:
        assert self.kv.stats().used == sum(bool(owners) for owners in self.owners)
        for seq_id in self.ids:
            assert self.kv.seq_pos_max(seq_id) == self.pos_max(seq_id)
            for position, cell in self.cells(seq_id).items():
                assert self.kv.slots(seq_id, position, position + 1).tolist() == [cell]


def test_slot_manager_against_plain_cells() -> None:
    run_state_machine_as_test(CellMachine, settings=STATEFUL)
