"""Full blocks of computed tokens, found again by what they hold and all that is before them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _blake2b(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


class CachedBlock:
    """A full block in the cache: its tokens follow those of `parent`."""

    __slots__ = ("alive", "block", "children", "key", "parent", "tokens")

    def __init__(self, block: int, key: bytes, parent: CachedBlock | None, tokens: bytes) -> None:
        self.block = block
        self.key = key
        self.parent = parent
        self.tokens = tokens
        self.children: set[CachedBlock] = set()
        self.alive = True


class PrefixCache:
    """Index of cached blocks under chained hashes: key = hash(parent key + token ids).

    The hash only finds a candidate. It counts when its tokens are equal and its parent is the very
    block matched before it, so a collision costs a hit and never gives a wrong one. A block leaves
    together with all that follow it: without its beginning a prefix cannot be found any more.

    Args:
        block_size: tokens per block.
        salt: keeps apart what must not be shared, such as another model or dtype.
        hash_function: digest of bytes.
    """

    def __init__(
        self,
        block_size: int,
        *,
        salt: bytes = b"",
        hash_function: Callable[[bytes], bytes] = _blake2b,
    ) -> None:
        self.evictions = 0
        self._block_size = block_size
        self._hash = hash_function
        self._root_key = hash_function(salt)
        self._by_key: dict[bytes, CachedBlock] = {}
        self._by_block: dict[int, CachedBlock] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()  # least recently used first

    @property
    def num_idle(self) -> int:
        """Cached blocks that no sequence refers to."""
        return len(self._idle)

    def match(self, token_ids: Sequence[int], max_tokens: int) -> list[CachedBlock]:
        """The longest cached chain of blocks that `token_ids` begins with, max_tokens at most."""
        chain: list[CachedBlock] = []
        parent: CachedBlock | None = None
        size = self._block_size
        for begin in range(0, max_tokens - size + 1, size):
            tokens = _as_bytes(token_ids[begin : begin + size])
            found = self._by_key.get(self._key(parent, tokens))
            if found is None or not _holds(found, parent, tokens):
                break
            chain.append(found)
            parent = found
        return chain

    def insert(
        self, parent: CachedBlock | None, token_ids: Sequence[int], block: int
    ) -> CachedBlock | None:
        """Cache a full block that a sequence holds.

        Returns the entry of this content, which is another block's when that was cached before, or
        None when another content has the same hash.
        """
        tokens = _as_bytes(token_ids)
        key = self._key(parent, tokens)
        found = self._by_key.get(key)
        if found is not None:
            return found if _holds(found, parent, tokens) else None
        entry = CachedBlock(block, key, parent, tokens)
        self._by_key[key] = entry
        self._by_block[block] = entry
        if parent is not None:
            parent.children.add(entry)
        return entry

    def acquire(self, block: int) -> None:
        """A sequence refers to a block that none referred to."""
        del self._idle[block]

    def release(self, block: int) -> bool:
        """No sequence refers to a block any more; true when it stays for its cached content."""
        if block not in self._by_block:
            return False
        self._idle[block] = None
        return True

    def evict(self) -> list[int]:
        """Give up the least recently used idle block; the blocks that are free by that."""
        oldest = self._by_block[next(iter(self._idle))]
        if oldest.parent is not None:
            oldest.parent.children.remove(oldest)
        freed: list[int] = []
        doomed = [oldest]
        while doomed:
            entry = doomed.pop()
            doomed.extend(entry.children)
            entry.children.clear()
            entry.alive = False
            del self._by_key[entry.key]
            del self._by_block[entry.block]
            self.evictions += 1
            # A block that a sequence computed for itself may follow one that is idle.
            if entry.block in self._idle:
                del self._idle[entry.block]
                freed.append(entry.block)
        return freed

    def _key(self, parent: CachedBlock | None, tokens: bytes) -> bytes:
        return self._hash((self._root_key if parent is None else parent.key) + tokens)


def _as_bytes(token_ids: Sequence[int]) -> bytes:
    return np.array(token_ids, dtype=np.int32).tobytes()


def _holds(entry: CachedBlock, parent: CachedBlock | None, tokens: bytes) -> bool:
    return entry.parent is parent and entry.tokens == tokens
