"""Which tokens may come next in a text that has to fit a form."""

from __future__ import annotations

import re
import threading
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from stagegate.errors import InvalidRequestError
from stagegate.structured.guidance import on_one_line
from stagegate.text.reasoning import CLOSE, OPEN
from stagegate.text.tool_calls import CLOSE as CALL_CLOSE
from stagegate.text.tool_calls import OPEN as CALL_OPEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llguidance import LLMatcher, LLTokenizer

    from stagegate.arrays import Int32Array
    from stagegate.structured.guidance import Guidance
    from stagegate.text.tokenizer import Tokenizer

    _Start = Callable[[LLMatcher | None], tuple[LLMatcher, LLMatcher]]
    _Form = tuple[Guidance, bool]

# Compiled forms kept. A schema of an application comes with every request of it.
_KEPT = 64
# What the engine reads in a text. A tokenizer may call them special.
_TAGS = frozenset(tag.encode() for tag in (OPEN, CLOSE, CALL_OPEN, CALL_CLOSE))


class Guide:
    """Follows one sequence through its form.

    allowed: int32 [ceil(vocab / 32)]; bit t % 32 of word t / 32 is set when token t may come next.
    finished: only an end may come. error: why the form cannot be followed any further.

    start: gives the form as compiled, and a copy to follow this text with; compiles it anew if the
    one it is given is still in use. ends: as `allowed`, the tokens that end a sequence.
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
        """Take the newest token of the sequence; not one that ends it."""
        self._token_ids.append(token_id)
        self._matcher.consume_token(token_id)
        self._look()

    def _look(self) -> None:
        bits = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            # Copies share the states of their automaton, up to a limit of the library: other texts
            # may have used them up. What fails from the start again fails for this text.
            self._compiled, self._matcher = self._start(self._compiled)
            self._matcher.consume_tokens(self._token_ids)
            bits = self._matcher.compute_bitmask()
        # The library appends bits that stand for no token.
        words = np.frombuffer(bits, dtype=np.int32)
        self.allowed: Int32Array = words[: len(self._ends)]
        if self._matcher.is_error():
            self.error = f"nothing fits this form: {on_one_line(self._matcher.get_error())}"
        goes_on = bool(np.any(self.allowed & ~self._ends))
        self.finished = self.error is not None or self._matcher.is_stopped() or not goes_on


class GuideMaker:
    """Compiles forms for one tokenizer; from any thread.

    eos_token_ids: may be empty. A text that could go on then does, until max_tokens; one that is
    complete ends.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, eos_token_ids: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        # The library needs an end; without one it gets a token that is never drawn.
        self._end_token_ids = sorted(eos_token_ids) or [vocab_size]
        self._ends = _bits(self._end_token_ids, vocab_size)
        self._has_special_tags = has_special_tags(tokenizer)
        self._lock = threading.Lock()
        self._adaptors: dict[bool, LLTokenizer] = {}
        self._compiled: dict[_Form, LLMatcher] = {}  # in the order of their last use

    def make(self, guidance: Guidance, *, special_tags: bool = False) -> Guide:
        """A guide at the start of its text.

        special_tags: the text leaves special tokens out, and with them tags of reasoning and calls
        that the tokenizer calls special; a form that needs one has it written out.

        Raises InvalidRequestError for a form that is too complex, or that nothing fits.
        """
        form = guidance, special_tags and self._has_special_tags
        guide = Guide(partial(self._start, form), self._ends)
        if guide.error is not None:
            raise InvalidRequestError(f"guidance: {guide.error}", parameter="guidance")
        if guide.finished and self._end_token_ids == [self._vocab_size]:
            msg = "guidance: only the empty text fits this form, and no token ends a text"
            raise InvalidRequestError(msg, parameter="guidance")
        return guide

    def _start(self, form: _Form, used_up: LLMatcher | None) -> tuple[LLMatcher, LLMatcher]:
        with self._lock:
            compiled = self._compiled.pop(form, None)
            if compiled is None or compiled is used_up:
                compiled = self._compile(form)
            self._compiled[form] = compiled
            if len(self._compiled) > _KEPT:
                del self._compiled[next(iter(self._compiled))]
            return compiled, compiled.deep_copy()

    def _compile(self, form: _Form) -> LLMatcher:
        from llguidance import LLMatcher

        guidance, special_tags = form
        if special_tags not in self._adaptors:
            self._adaptors[special_tags] = self._adapt(special_tags=special_tags)
        matcher = LLMatcher(self._adaptors[special_tags], guidance.grammars, log_level=0)
        if matcher.is_error():
            msg = f"guidance: {on_one_line(matcher.get_error())}"
            raise InvalidRequestError(msg, parameter="guidance")
        return matcher

    def _adapt(self, *, special_tags: bool) -> LLTokenizer:
        """Our tokenizer as llguidance wants it."""
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
    """Whether a tag of reasoning or calls is a special token, which texts leave out by default."""
    encoded = (tokenizer.encode(tag.decode(), add_special_tokens=False) for tag in _TAGS)
    return any(len(ids) == 1 and tokenizer.is_special(ids[0]) for ids in encoded)


def _bits(token_ids: Iterable[int], vocab_size: int) -> Int32Array:
    flags: npt.NDArray[np.uint8] = np.zeros(-(-vocab_size // 32) * 32, dtype=np.uint8)
    flags[[token_id for token_id in token_ids if token_id < len(flags)]] = 1
    return np.packbits(flags, bitorder="little").view(np.int32)


class _Vocabulary:
    """What the library asks of a tokenizer, by the names it asks for."""

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
        """Token ids of a text that a form asks for; none is special, even where it is written out.

        A special token is no text: it would end the sequence, or be missing from what it says.
        """
        pieces = self._inside_specials.split(text.decode())
        return [
            token_id
            for piece in pieces
            for token_id in self._tokenizer.encode(piece, add_special_tokens=False)
        ]
