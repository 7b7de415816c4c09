"""Which tokens may come next in a text that has to fit a form."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llguidance import LLMatcher, LLTokenizer

    from engine.guidance import Guidance
    from engine.step import Int32Array
    from engine.tokenizer import Tokenizer

# Compiled forms kept. A schema of an application comes with every request of it.
_KEPT = 64


class Guide:
    """Follows one sequence through its form.

    allowed: int32 [ceil(vocab / 32)]; bit t % 32 of word t / 32 is set when token t may come next.
    finished: only an end may come. error: why the form cannot be followed any further.
    """

    __slots__ = ("_ends", "_matcher", "allowed", "error", "finished")

    def __init__(self, matcher: LLMatcher, ends: Int32Array) -> None:
        self._matcher = matcher
        self._ends = ends  # as `allowed`: the tokens that end a sequence
        self.error: str | None = None
        self.finished = False
        self._look()

    def accept(self, token_id: int) -> None:
        """Take the newest token of the sequence; not one that ends it."""
        self._matcher.consume_token(token_id)
        self._look()

    def _look(self) -> None:
        # The library appends bits that stand for no token.
        words = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.int32)
        self.allowed: Int32Array = words[: len(self._ends)]
        if self._matcher.is_error():
            self.error = f"nothing fits this form: {self._matcher.get_error().splitlines()[0]}"
        goes_on = bool(np.any(self.allowed & ~self._ends))
        self.finished = self.error is not None or self._matcher.is_stopped() or not goes_on


class GuideMaker:
    """Compiles forms for one tokenizer; from any thread."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, eos_token_ids: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._eos_token_ids = sorted(eos_token_ids)
        self._ends = _bits(self._eos_token_ids, vocab_size)
        self._lock = threading.Lock()
        self._adaptor: LLTokenizer | None = None
        self._compiled = lru_cache(_KEPT)(self._compile)

    def make(self, guidance: Guidance) -> Guide:
        """A guide at the start of its text.

        Raises InvalidRequestError for a form that is too complex, or that nothing fits.
        """
        with self._lock:
            matcher = self._compiled(guidance).deep_copy()
        guide = Guide(matcher, self._ends)
        if guide.error is not None:
            raise InvalidRequestError(f"guidance: {guide.error}", parameter="guidance")
        return guide

    def _compile(self, guidance: Guidance) -> LLMatcher:
        from llguidance import LLMatcher

        if self._adaptor is None:
            self._adaptor = _adapt(self._tokenizer, self._vocab_size, self._eos_token_ids)
        matcher = LLMatcher(self._adaptor, guidance.grammar(), log_level=0)
        if matcher.is_error():
            msg = f"guidance: {matcher.get_error().splitlines()[0]}"
            raise InvalidRequestError(msg, parameter="guidance")
        return matcher


def _bits(token_ids: Iterable[int], vocab_size: int) -> Int32Array:
    flags: npt.NDArray[np.uint8] = np.zeros(-(-vocab_size // 32) * 32, dtype=np.uint8)
    flags[list(token_ids)] = 1
    return np.packbits(flags, bitorder="little").view(np.int32)


def _adapt(tokenizer: Tokenizer, vocab_size: int, eos_token_ids: list[int]) -> LLTokenizer:
    """Our tokenizer as llguidance wants it."""
    from llguidance import LLTokenizer, TokenizerWrapper

    vocabulary = _Vocabulary(tokenizer, vocab_size, eos_token_ids[0])
    return LLTokenizer(TokenizerWrapper(vocabulary), n_vocab=vocab_size, eos_token=eos_token_ids)


class _Vocabulary:
    """What the library asks of a tokenizer, by the names it asks for."""

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, eos_token_id: int) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = eos_token_id
        self.tokens = [tokenizer.token_bytes(token_id) for token_id in range(vocab_size)]
        self.special_token_ids = [i for i in range(vocab_size) if tokenizer.is_special(i)]

    def __call__(self, text: bytes) -> list[int]:
        return self._tokenizer.encode(text.decode(), add_special_tokens=False)
