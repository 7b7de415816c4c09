"""What one step computes, and what it brings back.

B sequences; R rows of logits, the rows of a sequence next to each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from stagegate.arrays import Float32Array, Int32Array
    from stagegate.sampling import SamplingParams
    from stagegate.structured.grammar_matcher import GrammarMatcher


class SequenceState(Protocol):
    """What executing a step reads of a sequence. The rest is the scheduler's affair.

    token_ids: prompt and output, as far as the tokens are known.
    grammar_matcher: the position of the output in its grammar; None without a grammar.
    """

    seq_id: int
    token_ids: list[int]
    num_prompt_tokens: int
    params: SamplingParams
    eos_token_ids: frozenset[int]
    seed: int
    grammar_matcher: GrammarMatcher | None


class ScheduledSequence(NamedTuple):
    """Tokens start..start+num_tokens-1 of a sequence.

    logits: positions whose logits are wanted. Before the last token of the prompt they give the
        log-probability of the prompt token that follows, from there on the next token is sampled.
    sampled_row: of a decode, the row of the step before that samples its token; -1 when the tokens
        are known.
    """

    sequence: SequenceState
    start: int
    num_tokens: int
    logits: range
    sampled_row: int = -1

    @property
    def num_prompt_rows(self) -> int:
        """How many of the logits, the first, give the log-probability of a prompt token."""
        last = self.sequence.num_prompt_tokens - 1
        logits = self.logits
        if logits.start >= last:
            return 0
        return min(logits.stop, last) - logits.start

    @property
    def samples(self) -> bool:
        """Whether the token behind the last of these is sampled."""
        logits = self.logits
        return logits.start < logits.stop >= self.sequence.num_prompt_tokens

    @property
    def num_sampled_before(self) -> int:
        """Tokens that were sampled for the sequence before the one that this step samples."""
        return self.start + self.num_tokens - self.sequence.num_prompt_tokens


@dataclass(frozen=True, slots=True)
class StepOutput:
    """Sequence i of the step has the rows row_ptr[i]..row_ptr[i+1]-1.

    A row that gives the log-probability of a prompt token has that token.
    """

    row_ptr: Int32Array  # [B + 1]
    token_ids: Int32Array  # [R]
    logprobs: Float32Array | None = None  # [R], of these tokens
    top_ids: Int32Array | None = None  # [R, N], most likely first
    top_logprobs: Float32Array | None = None  # [R, N]


@dataclass(frozen=True, slots=True, eq=False)
class DecodeBatch:
    """Sequences that decode together.

    One object from step to step while nobody joins or leaves, so that what depends on the sequences
    alone is worked out once for all of these steps.
    """

    sequences: tuple[SequenceState, ...]
    has_grammar: bool = field(init=False)

    def __post_init__(self) -> None:
        has_grammar = any(one.grammar_matcher is not None for one in self.sequences)
        object.__setattr__(self, "has_grammar", has_grammar)


@dataclass(frozen=True, slots=True, eq=False)
class Decodes:
    """One token each of D sequences, which each sample the next.

    starts: position of the token, i32 [D]. sampled_rows: row of the step before that samples it,
    i32 [D]; -1 when it is known.
    """

    batch: DecodeBatch
    starts: Int32Array
    sampled_rows: Int32Array

    def __len__(self) -> int:
        return len(self.batch.sequences)


_NO_ROWS: Int32Array = np.empty(0, dtype=np.int32)
_NO_DECODES = Decodes(DecodeBatch(()), _NO_ROWS, _NO_ROWS)


@dataclass(frozen=True, slots=True, eq=False)
class ScheduledStep:
    """Decodes, which have the first tokens and the first rows of logits, one each; then any other
    sequences, such as chunks of prompts."""

    chunks: tuple[ScheduledSequence, ...] = ()
    decodes: Decodes = _NO_DECODES
    # The row of logits that each sequence begins with, [B + 1].
    row_ptr: Int32Array = field(init=False)

    def __post_init__(self) -> None:
        num_decodes = len(self.decodes)
        row_ptr = np.arange(num_decodes + len(self.chunks) + 1, dtype=np.int32)
        end = num_decodes
        for index, item in enumerate(self.chunks, num_decodes + 1):
            end += len(item.logits)
            row_ptr[index] = end
        object.__setattr__(self, "row_ptr", row_ptr)

    @property
    def sequences(self) -> tuple[ScheduledSequence, ...]:
        """The decodes as well one by one. They are made for every call."""
        decodes = self.decodes
        parts = zip(
            decodes.batch.sequences,
            decodes.starts.tolist(),
            decodes.sampled_rows.tolist(),
            strict=True,
        )
        return (
            *(ScheduledSequence(one, at, 1, range(at, at + 1), row) for one, at, row in parts),
            *self.chunks,
        )

    @property
    def num_tokens(self) -> int:
        return len(self.decodes) + sum(item.num_tokens for item in self.chunks)

    @property
    def lets_the_next_run(self) -> bool:
        """Whether the next step can be queued before anybody knows what this one sampled.

        Grammars are worked out on the host, from the tokens before.
        """
        return not self.decodes.batch.has_grammar and not any(
            item.samples and item.sequence.grammar_matcher is not None for item in self.chunks
        )

    def check(self, output: StepOutput) -> None:
        """ValueError when an output has not one row for each of the logits that the step wants."""
        found, num_tokens = output.row_ptr, len(output.token_ids)
        is_ours = found is self.row_ptr or np.array_equal(found, self.row_ptr)
        if not is_ours or found[-1] != num_tokens:
            wanted = np.diff(self.row_ptr).tolist()
            msg = (
                f"the step wants {wanted} rows of logits, got those from {found.tolist()} on with "
                f"{num_tokens} tokens"
            )
            raise ValueError(msg)
