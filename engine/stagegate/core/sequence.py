"""A sequence: the tokens of one generation, and how far it is."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from stagegate.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stagegate.sampling import SamplingParams
    from stagegate.structured.grammar_matcher import GrammarMatcher


class SequenceStatus(Enum):
    WAITING = auto()
    RUNNING = auto()
    PREEMPTED = auto()
    FINISHED_STOPPED = auto()
    FINISHED_LENGTH = auto()
    FINISHED_ABORTED = auto()
    FINISHED_ERROR = auto()

    # An attribute: it is looked up several times a token.
    is_finished: bool

    def __init__(self, _: object) -> None:
        self.is_finished = self.name.startswith("FINISHED")


class Sequence:
    """State of one generation, owned by the scheduler while it lives.

    prompt_token_ids: at least one token; InvalidRequestError otherwise.
    eos_token_ids: the model's end-of-sequence tokens.
    seed: of what this sequence samples, a signed 64-bit integer.
    priority: lower runs first.
    max_tokens: most tokens to generate, the model's length already accounted for; the scheduler
        lowers it to what the KV cache can hold.

    token_ids: prompt and output, as far as the tokens are known.
    num_cached_tokens: how many the prefix cache brought at the first admission.
    admitted_at: reading of time.perf_counter at the first admission; None before.
    prompt_logprobs: whether the log-probabilities of the prompt's tokens are wanted, from the
        second on. num_prompt_logprobs: how many of them are known when the steps in flight are
        done; they come from the logits of the positions before.
    stop_reason: the stop token id that ended it, or what `finish` was given.
    ended_by_token: whether the newest token says that the text has ended, and is not part of it.
    grammar_matcher: the position of the output in its grammar; None without a grammar.
    """

    __slots__ = (
        "_ends",
        "admitted_at",
        "ended_by_token",
        "eos_token_ids",
        "grammar_matcher",
        "max_tokens",
        "num_cached_tokens",
        "num_prompt_logprobs",
        "num_prompt_tokens",
        "params",
        "priority",
        "prompt_logprobs",
        "seed",
        "seq_id",
        "status",
        "stop_reason",
        "token_ids",
    )

    def __init__(
        self,
        seq_id: int,
        prompt_token_ids: Iterable[int],
        params: SamplingParams,
        *,
        eos_token_ids: Iterable[int],
        seed: int,
        priority: int = 0,
        max_tokens: int,
        prompt_logprobs: bool = False,
        grammar_matcher: GrammarMatcher | None = None,
    ) -> None:
        self.seq_id = seq_id
        self.token_ids = list(prompt_token_ids)
        self.num_prompt_tokens = len(self.token_ids)
        if not self.token_ids:
            msg = "the prompt has no tokens; give at least one"
            raise InvalidRequestError(msg, parameter="prompt")
        if max_tokens < 1:
            msg = f"max_tokens must be at least 1, got {max_tokens}"
            raise InvalidRequestError(msg, parameter="max_tokens")
        self.params = params
        self.eos_token_ids = frozenset(eos_token_ids)
        ends_of_model = () if params.ignore_eos else self.eos_token_ids
        self._ends = frozenset((*ends_of_model, *params.stop_token_ids))
        self.seed = seed
        self.priority = priority
        self.max_tokens = max_tokens
        self.num_cached_tokens = 0
        self.admitted_at: float | None = None
        self.num_prompt_logprobs = 0
        self.prompt_logprobs = prompt_logprobs
        self.grammar_matcher = grammar_matcher
        self.ended_by_token = False
        self.status = SequenceStatus.WAITING
        self.stop_reason: int | str | None = None

    def __repr__(self) -> str:
        return (
            f"Sequence({self.seq_id}, {self.status.name}, prompt={self.num_prompt_tokens}, "
            f"output={self.num_output_tokens})"
        )

    @property
    def num_tokens(self) -> int:
        """Known tokens, prompt and output."""
        return len(self.token_ids)

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def output_token_ids(self) -> list[int]:
        return self.token_ids[self.num_prompt_tokens :]

    @property
    def is_finished(self) -> bool:
        return self.status.is_finished

    @property
    def first_logits_position(self) -> int:
        """Logits are wanted from this position on; all before it may come from the cache.

        The last token's give the next token, those of a prompt the log-probabilities of its tokens.
        Of a sequence that has none in flight.
        """
        if self.prompt_logprobs and self.num_prompt_logprobs < self.num_prompt_tokens - 1:
            return self.num_prompt_logprobs
        return self.num_tokens - 1

    def append_token(self, token_id: int) -> bool:
        """Add a generated token to a sequence that has not ended; whether it has ended by that.

        A stop token stays in token_ids; the text is cut by whoever makes it.
        """
        token_ids = self.token_ids
        token_ids.append(token_id)
        if self.grammar_matcher is not None:
            if token_id not in self.eos_token_ids:
                self.grammar_matcher.accept(token_id)
        elif (
            token_id not in self._ends and len(token_ids) - self.num_prompt_tokens < self.max_tokens
        ):
            return False
        self._finish_by(token_id)
        return self.status.is_finished

    def append_tokens(self, token_ids: Iterable[int]) -> int:
        """Add generated tokens up to the one that ends the sequence; how many were added."""
        added = 0
        for token_id in token_ids:
            added += 1
            if self.append_token(token_id):
                break
        return added

    def drop_last(self, count: int) -> None:
        """Forget the newest tokens of a finished sequence: its text ended before them."""
        del self.token_ids[len(self.token_ids) - count :]

    def finish(self, status: SequenceStatus, reason: int | str | None = None) -> None:
        """End the sequence. A later call wins: a stop string may complete on the last token."""
        if not status.is_finished:
            msg = f"{status.name} does not end a sequence"
            raise ValueError(msg)
        self.status = status
        self.stop_reason = reason

    def _finish_by(self, token_id: int) -> None:
        """Finish when the newest token ends the sequence."""
        params, num_output_tokens = self.params, self.num_output_tokens
        if num_output_tokens > params.min_tokens and token_id in self._ends:
            self.ended_by_token = True
            is_model_end = token_id in self.eos_token_ids and not params.ignore_eos
            self.finish(SequenceStatus.FINISHED_STOPPED, None if is_model_end else token_id)
        elif self.grammar_matcher is not None and self.grammar_matcher.finished:
            failed = self.grammar_matcher.error is not None
            self.finish(
                SequenceStatus.FINISHED_ERROR if failed else SequenceStatus.FINISHED_STOPPED
            )
        elif num_output_tokens >= self.max_tokens:
            self.finish(SequenceStatus.FINISHED_LENGTH)
