"""What the scheduler and an executor ask of the KV cache, whatever its layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stagegate.arrays import Int32Array
    from stagegate.kv.int_vector import IntVector
    from stagegate.kv.metadata import AttentionMetadata


@dataclass(frozen=True, slots=True)
class KVStats:
    """Counters since the start. A sequence counts once, at its first admission.

    prefix_saved_tokens: tokens that were not computed because the prefix cache had them.
    evictions: cached blocks whose content was given up for others.
    used, peak, capacity: in tokens; used is what live sequences hold.
    """

    prefix_hits: int
    prefix_misses: int
    prefix_saved_tokens: int
    evictions: int
    used: int
    peak: int
    capacity: int


class KVTables(Protocol):
    """Which slot holds the keys and values of each token: what the inputs of a step are made of.

    KeyError on an unknown id.
    """

    @property
    def num_slots(self) -> int:
        """Slots are numbered from 0 to num_slots - 1."""

    @property
    def block_size(self) -> int:
        """Tokens of a block: room comes in whole blocks, and full ones may be shared."""

    def slots(self, seq_id: int, start: int, stop: int) -> Int32Array:
        """Slots of positions start..stop-1, i32 [stop - start]; IndexError beyond the room made."""

    def block_table(self, seq_id: int) -> IntVector:
        """The blocks of a sequence in order, in the slot layout its slots.

        It grows in place; a sequence that is begun anew has another one.
        """

    def attention_metadata(
        self, seq_ids: Sequence[int], starts: Sequence[int], context_lens: Sequence[int]
    ) -> AttentionMetadata:
        """What a step attends to.

        The step computes positions starts[i]..context_lens[i]-1 of sequence seq_ids[i]; the token
        at position p sees exactly the slots of positions 0..p of its own sequence.
        """


class KVManager(KVTables, Protocol):
    """Decides which slot holds the keys and values of each token.

    It knows a sequence by its id alone. KeyError on an unknown one.
    """

    @property
    def capacity_tokens(self) -> int:
        """Longest sequence that fits when it is alone."""

    def begin(
        self, seq_id: int, token_ids: Sequence[int], *, max_cached: int, is_first: bool
    ) -> int:
        """Register a sequence and attach what is cached of its tokens.

        max_cached: most tokens to attach; logits are wanted from there on, and only a token that is
        computed gives them. is_first: the sequence was never admitted before, so that the
        statistics count it. Returns how many tokens need not be computed, in whole blocks.
        """

    def grow(self, seq_id: int, num_tokens: int) -> bool:
        """Make room for `num_tokens` tokens in all; False, and nothing changed, if it is short."""

    def commit(self, seq_id: int, token_ids: Sequence[int], num_computed: int) -> None:
        """The first `num_computed` tokens have their keys and values in place and may be shared.

        To be called at the end of every block.
        """

    def truncate(self, seq_id: int, num_tokens: int) -> None:
        """Give back the room beyond `num_tokens`; ValueError when that cuts computed tokens."""

    def free(self, seq_id: int) -> None:
        """Forget a sequence and give back its room."""

    def stats(self) -> KVStats: ...
