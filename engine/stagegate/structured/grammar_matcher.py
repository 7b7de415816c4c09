"""The tokens that a grammar allows next, for each sequence."""

from __future__ import annotations

import re
import threading
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stagegate.errors import InvalidRequestError
from stagegate.structured.grammar import on_one_line
from stagegate.text.reasoning import CLOSE, OPEN
from stagegate.text.tool_calls import CLOSE as CALL_CLOSE
from stagegate.text.tool_calls import OPEN as CALL_OPEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llguidance import LLMatcher, LLTokenizer

    from stagegate.arrays import Int32Array
    from stagegate.sampling import GrammarDescription
    from stagegate.text.tokenizer import Tokenizer

    _Start = Callable[[LLMatcher | None], tuple[LLMatcher, LLMatcher]]
    _Key = tuple[GrammarDescription, bool]

# Number of compiled grammars kept. An application sends its schema with every request.
_KEPT = 64
# Tags that the engine parses in a text. They may be special tokens of a tokenizer.
_TAGS = frozenset(tag.encode() for tag in (OPEN, CLOSE, CALL_OPEN, CALL_CLOSE))


class GrammarMatcher:
    """Matches the tokens of one sequence against its grammar.

    allowed: int32 [ceil(vocab / 32)]; bit t % 32 of word t / 32 is set if token t may come next.
    finished: only an end token may come next. error: why the grammar cannot be matched further.

    start: returns the compiled grammar and a copy for this text; compiles it again if the one
    passed to it is still in use. ends: as `allowed`, the tokens that end a sequence.
    """

    __slots__ = (
        *("_compiled", "_ends", "_matcher", "_start", "_token_ids"),
        *("allowed", "error", "finished"),
    )

    def __init__(self, start: _Start, ends: Int32Array) -> None:
        self._start = start
        self._compiled, self._matcher = start(None)
        self._ends = ends
        self._token_ids: list[int] = []
        self.error: str | None = None
        self.finished = False
        self._look()

    def accept(self, token_id: int) -> None:
        """Advance by the newest token of the sequence, which must not be one that ends it."""
        self._token_ids.append(token_id)
        self._matcher.consume_token(token_id)
        self._look()

    def _look(self) -> None:
        bits = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            # Copies share the states of their automaton, whose number the library limits, so other
            # texts may have exhausted them. If a fresh copy fails too, this text is the cause.
            self._compiled, self._matcher = self._start(self._compiled)
            self._matcher.consume_tokens(self._token_ids)
            bits = self._matcher.compute_bitmask()
        # The library appends bits that belong to no token.
        words = np.frombuffer(bits, dtype=np.int32)
        self.allowed: Int32Array = words[: len(self._ends)]
        if self._matcher.is_error():
            self.error = f"nothing matches this grammar: {on_one_line(self._matcher.get_error())}"
        goes_on = bool(np.any(self.allowed & ~self._ends))
        self.finished = self.error is not None or self._matcher.is_stopped() or not goes_on


class GrammarCompiler:
    """Compiles grammars for one tokenizer; thread-safe.

    eos_token_ids: may be empty. A text that can continue then does so until max_tokens; one that
    cannot ends.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, eos_token_ids: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        # The library needs an end token; without one it gets a token that is never sampled.
        self._end_token_ids = sorted(eos_token_ids) or [vocab_size]
        self._ends = _bits(self._end_token_ids, vocab_size)
        self._has_special_tags = has_special_tags(tokenizer)
        self._lock = threading.Lock()
        self._adaptors: dict[bool, LLTokenizer] = {}
        self._compiled: dict[_Key, LLMatcher] = {}  # in the order of their last use

    def matcher(self, grammar: GrammarDescription, *, special_tags: bool = False) -> GrammarMatcher:
        """A matcher at the start of its text.

        special_tags: the text omits special tokens, including tags of reasoning and calls that are
        special tokens; a grammar that needs such a tag spells it with ordinary tokens.

        Raises InvalidRequestError for a grammar that is too complex, or that nothing matches.
        """
        key = grammar, special_tags and self._has_special_tags
        matcher = GrammarMatcher(partial(self._start, key), self._ends)
        if matcher.error is not None:
            raise InvalidRequestError(f"grammar: {matcher.error}", parameter="grammar")
        if matcher.finished and self._end_token_ids == [self._vocab_size]:
            msg = "grammar: only the empty text matches, and no token ends a text"
            raise InvalidRequestError(msg, parameter="grammar")
        return matcher

    def _start(self, key: _Key, used_up: LLMatcher | None) -> tuple[LLMatcher, LLMatcher]:
        with self._lock:
            compiled = self._compiled.pop(key, None)
            if compiled is None or compiled is used_up:
                compiled = self._compile(key)
            self._compiled[key] = compiled
            if len(self._compiled) > _KEPT:
                del self._compiled[next(iter(self._compiled))]
            return compiled, compiled.deep_copy()

    def _compile(self, key: _Key) -> LLMatcher:
        from llguidance import LLMatcher

        grammar, special_tags = key
        if special_tags not in self._adaptors:
            self._adaptors[special_tags] = self._adapt(special_tags=special_tags)
        matcher = LLMatcher(self._adaptors[special_tags], grammar.grammars, log_level=0)
        if matcher.is_error():
            msg = f"grammar: {on_one_line(matcher.get_error())}"
            raise InvalidRequestError(msg, parameter="grammar")
        return matcher

    def _adapt(self, *, special_tags: bool) -> LLTokenizer:
        """Our tokenizer, wrapped for llguidance."""
        from llguidance import LLTokenizer, TokenizerWrapper

        ends = self._end_token_ids
        size = max(self._vocab_size, ends[-1] + 1)
        special = [
            token_id
            for token_id in range(size)
            if self._tokenizer.is_special(token_id)
            and (special_tags or self._tokenizer.token_bytes(token_id) not in _TAGS)
        ]
        vocabulary = _Vocabulary(self._tokenizer, size, ends[0], special)
        return LLTokenizer(TokenizerWrapper(vocabulary), n_vocab=size, eos_token=ends)


def has_special_tags(tokenizer: Tokenizer) -> bool:
    """Whether a tag of reasoning or calls is a special token, which texts omit by default."""
    encoded = (tokenizer.encode(tag.decode(), add_special_tokens=False) for tag in _TAGS)
    return any(len(ids) == 1 and tokenizer.is_special(ids[0]) for ids in encoded)


def _bits(token_ids: Iterable[int], vocab_size: int) -> Int32Array:
    flags: npt.NDArray[np.uint8] = np.zeros(-(-vocab_size // 32) * 32, dtype=np.uint8)
    flags[[token_id for token_id in token_ids if token_id < len(flags)]] = 1
    return np.packbits(flags, bitorder="little").view(np.int32)


class _Vocabulary:
    """The tokenizer interface that the library expects, with its names."""

    bos_token_id = None

    def __init__(
        self, tokenizer: Tokenizer, size: int, eos_token_id: int, special_token_ids: list[int]
    ) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = eos_token_id
        self.tokens = [tokenizer.token_bytes(token_id) for token_id in range(size)]
        self.special_token_ids = special_token_ids
        texts = [self.tokens[token_id].decode() for token_id in self.special_token_ids]
        self._inside_specials = re.compile(
            "|".join(f"(?<={re.escape(text[0])})(?={re.escape(text[1:])})" for text in texts)
            or "$^"
        )

    def __call__(self, text: bytes) -> list[int]:
        """Token ids of a text in a grammar; never special tokens, even if their text is spelled.

        A special token is not text: it would end the sequence, or be missing from its text.
        """
        pieces = self._inside_specials.split(text.decode())
        return [
            token_id
            for piece in pieces
            for token_id in self._tokenizer.encode(piece, add_special_tokens=False)
        ]
