"""Full blocks of computed tokens, found again by what they hold and all that is before them."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    # Which entry comes before, and the tokens as bytes.
    Content = tuple[int, bytes]

_NO_PARENT = 0
_NO_BLOCK = -1
# A prompt is read so many blocks at a time: one that is not cached is not read whole.
_BLOCKS_READ_AT_ONCE = 64


class PrefixCache:
    """Index of cached blocks by what they hold: their tokens, and the entry that comes before.

    So a block is found only by all tokens up to its end, and exactly: there is no hash to collide.
    A block leaves together with all that follow it: without its beginning a prefix cannot be found
    any more.

    An entry is a number that is never used again, and what it holds stands in columns by block. As
    objects, the entries of a large cache would make every full garbage collection a pause of a
    tenth of a second.

    Args:
        block_size: tokens per block.
    """

    def __init__(self, block_size: int) -> None:
        self.evictions = 0
        self._block_size = block_size
        self._numbers = count(_NO_PARENT + 1)
        self._by_content: dict[Content, int] = {}
        self._blocks: dict[int, int] = {}  # of entries
        self._idle: OrderedDict[int, None] = OrderedDict()  # least recently used first
        # By block, as long as it is cached.
        self._entries: list[int] = []
        self._contents: list[Content] = []
        # The blocks that follow a block are a linked list.
        self._first_child: list[int] = []
        self._next_sibling: list[int] = []
        self._previous_sibling: list[int] = []

    @property
    def num_idle(self) -> int:
        """Cached blocks that no sequence refers to."""
        return len(self._idle)

    def holds(self, entry: int) -> bool:
        """Whether an entry is still there."""
        return entry in self._blocks

    def block_of(self, entry: int) -> int:
        return self._blocks[entry]

    def match(self, token_ids: Sequence[int], max_tokens: int) -> list[int]:
        """Entries of the longest cached chain that `token_ids` begins with, max_tokens at most."""
        chain: list[int] = []
        parent = _NO_PARENT
        for tokens in self._whole_blocks(token_ids, max_tokens):
            found = self._by_content.get((parent, tokens))
            if found is None:
                break
            chain.append(found)
            parent = found
        return chain

    def extend(
        self, parent: int | None, token_ids: Sequence[int], blocks: Sequence[int]
    ) -> list[int]:
        """Cache full blocks that a sequence holds and that follow an entry, or begin a sequence.

        token_ids: of all these blocks. Returns the entry of each content, which is another block's
        when that was cached before.
        """
        chain: list[int] = []
        last = _NO_PARENT if parent is None else parent
        size = self._block_size * len(blocks)
        self._make_room(max(blocks, default=_NO_BLOCK))
        for block, tokens in zip(blocks, self._whole_blocks(token_ids, size), strict=True):
            content = (last, tokens)
            entry = self._by_content.get(content)
            if entry is None:
                entry = self._insert(block, content)
            chain.append(entry)
            last = entry
        return chain

    def acquire(self, block: int) -> None:
        """A sequence refers to a block that none referred to."""
        del self._idle[block]

    def release(self, block: int) -> bool:
        """No sequence refers to a block any more; true when it stays for its cached content."""
        if block >= len(self._entries) or self._entries[block] not in self._blocks:
            return False
        self._idle[block] = None
        return True

    def evict(self) -> list[int]:
        """Give up the least recently used idle block; the blocks that are free by that."""
        oldest = next(iter(self._idle))
        self._unlink(oldest)
        freed: list[int] = []
        doomed = [oldest]
        while doomed:
            block = doomed.pop()
            child = self._first_child[block]
            while child != _NO_BLOCK:
                doomed.append(child)
                child = self._next_sibling[child]
            del self._by_content[self._contents[block]]
            del self._blocks[self._entries[block]]
            self.evictions += 1
            # A block that a sequence computed for itself may follow one that is idle.
            if block in self._idle:
                del self._idle[block]
                freed.append(block)
        return freed

    def _whole_blocks(self, token_ids: Sequence[int], max_tokens: int) -> Iterator[bytes]:
        stop = max_tokens // self._block_size * self._block_size
        num_bytes = self._block_size * array("i").itemsize
        step = self._block_size * _BLOCKS_READ_AT_ONCE
        for begin in range(0, stop, step):
            data = array("i", token_ids[begin : min(begin + step, stop)]).tobytes()
            for at in range(0, len(data), num_bytes):
                yield data[at : at + num_bytes]

    def _insert(self, block: int, content: Content) -> int:
        entry = next(self._numbers)
        self._by_content[content] = entry
        self._blocks[entry] = block
        self._entries[block] = entry
        self._contents[block] = content
        self._first_child[block] = _NO_BLOCK
        self._previous_sibling[block] = _NO_BLOCK
        self._next_sibling[block] = _NO_BLOCK
        parent, _ = content
        if parent != _NO_PARENT:
            above = self._blocks[parent]
            younger = self._first_child[above]
            self._first_child[above] = block
            self._next_sibling[block] = younger
            if younger != _NO_BLOCK:
                self._previous_sibling[younger] = block
        return entry

    def _unlink(self, block: int) -> None:
        """Take a block out of the list of those that follow its parent."""
        before, behind = self._previous_sibling[block], self._next_sibling[block]
        if behind != _NO_BLOCK:
            self._previous_sibling[behind] = before
        if before != _NO_BLOCK:
            self._next_sibling[before] = behind
        elif (parent := self._contents[block][0]) != _NO_PARENT:
            self._first_child[self._blocks[parent]] = behind

    def _make_room(self, block: int) -> None:
        """Make the columns long enough for a block."""
        missing = block + 1 - len(self._entries)
        if missing <= 0:
            return
        self._entries.extend([_NO_PARENT] * missing)
        self._contents.extend([(_NO_PARENT, b"")] * missing)
        for links in (self._first_child, self._next_sibling, self._previous_sibling):
            links.extend([_NO_BLOCK] * missing)
