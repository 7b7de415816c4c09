"""What one step computes, and what it brings back.

B sequences; R rows of logits, the rows of a sequence next to each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from stagegate.arrays import Float32Array, Int32Array
    from stagegate.execution.token_history import TokenHistory
    from stagegate.sampling import SamplingParams
    from stagegate.structured.grammar_matcher import GrammarMatcher


class SequenceState(Protocol):
    """What executing a step reads of a sequence. The rest is the scheduler's affair.

    token_ids: prompt and output, as far as the tokens are known. history: what penalties look at.
    grammar_matcher: the position of the output in its grammar; None without a grammar.
    """

    seq_id: int
    token_ids: list[int]
    num_prompt_tokens: int
    params: SamplingParams
    eos_token_ids: frozenset[int]
    seed: int
    history: TokenHistory | None
    grammar_matcher: GrammarMatcher | None


class ScheduledSequence(NamedTuple):
    """Tokens start..start+num_tokens-1 of a sequence.

    logits: positions whose logits are wanted. Before the last token of the prompt they give the
        log-probability of the prompt token that follows, from there on the next token is sampled.
    sampled_row: row of the step before that samples the last of the tokens; -1 when all are known.
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


class SequenceOutput(NamedTuple):
    """What a step brought one sequence.

    prompt_rows: rows of the output with the log-probability of a prompt token. rows: those of the
    sampled tokens. token_ids: these tokens.
    """

    item: ScheduledSequence
    prompt_rows: range
    rows: range
    token_ids: list[int]


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
class ScheduledStep:
    sequences: tuple[ScheduledSequence, ...]
    # The row of logits that each sequence begins with, [B + 1].
    row_ptr: Int32Array = field(init=False)

    def __post_init__(self) -> None:
        row_ptr = np.cumsum([0, *(len(item.logits) for item in self.sequences)], dtype=np.int32)
        object.__setattr__(self, "row_ptr", row_ptr)

    @property
    def num_tokens(self) -> int:
        return sum(item.num_tokens for item in self.sequences)

    @property
    def lets_the_next_run(self) -> bool:
        """Whether the next step can be queued before anybody knows what this one sampled.

        Penalties and grammars are worked out on the host, from the tokens before.
        """
        return all(
            item.sequence.history is None and item.sequence.grammar_matcher is None
            for item in self.sequences
            if item.samples
        )

    def outputs(self, output: StepOutput) -> list[SequenceOutput]:
        """Whose output is whose, in the order of the sequences.

        ValueError when the output has not one row for each of the logits that the step wants.
        """
        row_ptr, token_ids = output.row_ptr.tolist(), output.token_ids.tolist()
        if not np.array_equal(output.row_ptr, self.row_ptr) or row_ptr[-1] != len(token_ids):
            wanted = [len(item.logits) for item in self.sequences]
            msg = (
                f"the step wants {wanted} rows of logits, got those from {row_ptr} on with "
                f"{len(token_ids)} tokens"
            )
            raise ValueError(msg)
        found: list[SequenceOutput] = []
        begin = 0
        for item, end in zip(self.sequences, row_ptr[1:], strict=True):
            middle = begin + item.num_prompt_rows
            rows = range(middle, end)
            found.append(SequenceOutput(item, range(begin, middle), rows, token_ids[middle:end]))
            begin = end
        return found
