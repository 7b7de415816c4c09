"""What the scheduler asks of the KV cache, whatever its layout."""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stagegate.core.sequence import Sequence
    from stagegate.execution.step import AttentionMetadata, Int32Array


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


class KVManager(Protocol):
    """Decides which slot holds the keys and values of each token. KeyError on an unknown id."""

    @property
    def layout(self) -> str:
        """block or slot."""

    @property
    def capacity_tokens(self) -> int:
        """Longest sequence that fits when it is alone."""

    @property
    def num_slots(self) -> int:
        """Slots are numbered from 0 to num_slots - 1."""

    def begin(self, sequence: Sequence) -> int:
        """Register a sequence and attach what is cached of its tokens.

        Returns how many tokens need not be computed: whole blocks, at most first_logits_position,
        for only a token that is computed gives logits.
        """

    def grow(self, seq_id: int, num_tokens: int) -> bool:
        """Make room for `num_tokens` tokens in all; False, and nothing changed, if it is short."""

    def slots(self, seq_id: int, start: int, stop: int) -> Int32Array:
        """Slots of positions start..stop-1, i32 [stop - start]; IndexError beyond the room made."""

    def commit(self, sequence: Sequence, num_computed: int) -> None:
        """The first `num_computed` tokens have their keys and values in place and may be shared."""

    def truncate(self, seq_id: int, num_tokens: int) -> None:
        """Give back the room beyond `num_tokens`; ValueError when that cuts computed tokens."""

    def free(self, seq_id: int) -> None:
        """Forget a sequence and give back its room."""

    def attention_metadata(
        self, seq_ids: Ordered[int], starts: Ordered[int], context_lens: Ordered[int]
    ) -> AttentionMetadata:
        """What a step attends to.

        The step computes positions starts[i]..context_lens[i]-1 of sequence seq_ids[i]; the token
        at position p sees exactly the slots of positions 0..p of its own sequence.
        """

    def stats(self) -> KVStats: ...
