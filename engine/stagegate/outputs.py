"""What a request brings back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from stagegate.errors import StagegateError


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Natural log-probability of one token, and of the most likely ones at its place.

    Both are the model's own: before bias, penalties and temperature.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()  # (token id, logprob), most likely first


@dataclass(frozen=True, slots=True)
class CompletionOutput:
    """One generated sequence.

    finish_reason: None while it runs; stop, length, abort or error after.
    stop_reason: the stop string or stop token id that ended it; None for the model's own end.
    """

    index: int
    text: str
    token_ids: list[int]
    logprobs: list[TokenLogprobs] | None
    finish_reason: str | None
    stop_reason: str | int | None


class Usage(NamedTuple):
    """Token counts; cached_tokens came from the prefix cache and are part of prompt_tokens."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class RequestTimings(NamedTuple):
    """Seconds since the request arrived; None for what has not happened.

    Durations, because another process has another clock. scheduled_s: when the request left the
    queue; known when it has ended.
    """

    first_token_s: float | None
    finished_s: float | None
    decode_tokens: int  # tokens of the longest sequence after its first
    scheduled_s: float | None = None

    @property
    def ttft_ms(self) -> float | None:
        """Time to first token."""
        return _milliseconds(0.0, self.first_token_s)

    @property
    def e2e_ms(self) -> float | None:
        """From arrival to the last token."""
        return _milliseconds(0.0, self.finished_s)

    @property
    def queue_ms(self) -> float | None:
        """From arrival until it was scheduled."""
        return _milliseconds(0.0, self.scheduled_s)

    @property
    def prefill_ms(self) -> float | None:
        """From being scheduled to the first token."""
        return _milliseconds(self.scheduled_s, self.first_token_s)

    @property
    def decode_ms(self) -> float | None:
        """From the first token to the last."""
        return _milliseconds(self.first_token_s, self.finished_s)

    @property
    def inference_ms(self) -> float | None:
        """From being scheduled to the last token."""
        return _milliseconds(self.scheduled_s, self.finished_s)

    @property
    def tpot_ms(self) -> float | None:
        """Mean time per output token after the first; None with a single token."""
        if self.decode_ms is None or self.decode_tokens < 1:
            return None
        return self.decode_ms / self.decode_tokens


def _milliseconds(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else 1e3 * (end - start)


@dataclass(frozen=True, slots=True)
class RequestOutput:
    """State of a request; text and token ids are cumulative.

    prompt_logprobs: of each prompt token behind those before it, when the parameters ask for them
        and all are known; None for the first token, which follows nothing.
    error: what the core raised when a step with this request failed; None otherwise.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool
    usage: Usage
    timings: RequestTimings
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    error: StagegateError | None = None


@dataclass(frozen=True, slots=True)
class ChoiceDelta:
    """What one sequence gained since the last delta; the reasons are as in CompletionOutput."""

    index: int
    text: str
    token_ids: list[int]
    logprobs: list[TokenLogprobs] | None
    finish_reason: str | None
    stop_reason: str | int | None


class RequestDelta(NamedTuple):
    """What a request gained since the last delta.

    choices: the sequences that gained something or ended. usage: totals so far. timings: of a
        request that has ended; None before.
    prompt_logprobs: as in RequestOutput, in the first delta only; None when the parameters do not
        ask for them, or the request ended before all were known.
    """

    request_id: str
    choices: tuple[ChoiceDelta, ...]
    finished: bool
    prompt_token_ids: list[int]
    usage: Usage
    timings: RequestTimings | None
    prompt_logprobs: list[TokenLogprobs | None] | None
    error: StagegateError | None
