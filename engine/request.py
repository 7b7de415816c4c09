"""A request as its caller sees it: one prompt, one or more sequences, text so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.outputs import CompletionOutput, RequestOutput, RequestTimings, TokenLogprobs, Usage
from engine.sequence import SequenceStatus
from engine.stopping import StopMatcher

if TYPE_CHECKING:
    from engine.detokenizer import Detokenizer
    from engine.errors import StagegateError
    from engine.sampling import SamplingParams
    from engine.sequence import Sequence
    from engine.step import StepOutput

_FINISH_REASONS = {
    SequenceStatus.FINISHED_STOPPED: "stop",
    SequenceStatus.FINISHED_LENGTH: "length",
    SequenceStatus.FINISHED_ABORTED: "abort",
    SequenceStatus.FINISHED_ERROR: "error",
}


class Choice:
    """Text of one sequence: its new tokens go in, its visible text comes out."""

    def __init__(
        self, sequence: Sequence, detokenizer: Detokenizer, params: SamplingParams
    ) -> None:
        self.sequence = sequence
        self.text = ""
        self.logprobs: list[TokenLogprobs] | None = None if params.logprobs is None else []
        self._params = params
        self._detokenizer = detokenizer
        self._matcher = StopMatcher(
            tuple(params.stop), include_stop_str_in_output=params.include_stop_str_in_output
        )

    def push(self, token_id: int) -> str | None:
        """Take the newest token of the sequence; returns the stop string it completes, if any."""
        sequence = self.sequence
        ended_by_token = sequence.status is SequenceStatus.FINISHED_STOPPED
        if ended_by_token and not self._params.include_stop_str_in_output:
            return None
        piece = self._detokenizer.push(token_id)
        if sequence.num_output_tokens <= self._params.min_tokens:
            self.text += piece  # too early for a stop string
            return None
        self.text += self._matcher.push(piece)
        return self._matcher.matched

    def close(self) -> None:
        """The sequence ended: release what was held back for a character or a stop string."""
        if self._matcher.matched is None:
            self.text += self._matcher.push(self._detokenizer.flush()) + self._matcher.flush()

    def push_logprobs(self, output: StepOutput, row: int) -> None:
        """Take the log-probabilities of the newest token: row `row` of a step's output."""
        if self.logprobs is None:
            return
        assert output.logprobs is not None
        assert output.top_ids is not None
        assert output.top_logprobs is not None
        wanted = self._params.logprobs
        self.logprobs.append(
            TokenLogprobs(
                token_id=int(output.token_ids[row]),
                logprob=float(output.logprobs[row]),
                top=tuple(
                    zip(
                        output.top_ids[row, :wanted].tolist(),
                        output.top_logprobs[row, :wanted].tolist(),
                        strict=True,
                    )
                ),
            )
        )


@dataclass(slots=True)
class Request:
    """Times are readings of time.perf_counter, in seconds. error: why a step of it failed."""

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    params: SamplingParams
    choices: list[Choice]
    arrival: float = field(default_factory=time.perf_counter)
    first_token: float | None = None
    finished_at: float | None = None
    error: StagegateError | None = None

    @property
    def finished(self) -> bool:
        return all(choice.sequence.is_finished for choice in self.choices)

    def note_progress(self, now: float) -> None:
        """Take the time of the first token and of the end."""
        if self.first_token is None:
            self.first_token = now
        if self.finished:
            self.finished_at = now

    def output(self) -> RequestOutput:
        """What there is so far; token ids and text are cumulative."""
        lengths = [choice.sequence.num_output_tokens for choice in self.choices]
        return RequestOutput(
            request_id=self.request_id,
            prompt=self.prompt,
            prompt_token_ids=self.prompt_token_ids,
            outputs=[
                CompletionOutput(
                    index=index,
                    text=choice.text,
                    token_ids=choice.sequence.output_token_ids,
                    logprobs=None if choice.logprobs is None else list(choice.logprobs),
                    finish_reason=_FINISH_REASONS.get(choice.sequence.status),
                    stop_reason=choice.sequence.stop_reason,
                )
                for index, choice in enumerate(self.choices)
            ],
            finished=self.finished,
            usage=Usage(
                prompt_tokens=len(self.prompt_token_ids),
                completion_tokens=sum(lengths),
                cached_tokens=max(choice.sequence.num_cached_tokens for choice in self.choices),
            ),
            timings=RequestTimings(
                arrival=self.arrival,
                first_token=self.first_token,
                finished=self.finished_at,
                decode_tokens=max(lengths) - 1,
            ),
            error=self.error,
        )
