"""A request as its caller sees it: one prompt, one or more sequences, text so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.outputs import CompletionOutput, RequestOutput, RequestTimings, Usage
from engine.sequence import SequenceStatus
from engine.stopping import StopMatcher

if TYPE_CHECKING:
    from engine.detokenizer import Detokenizer
    from engine.outputs import TokenLogprobs
    from engine.sampling import SamplingParams
    from engine.sequence import Sequence

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
        self.stop_reason: str | int | None = None
        self._detokenizer = detokenizer
        self._matcher = StopMatcher(
            params.stop, include_stop_str_in_output=params.include_stop_str_in_output
        )

    def push(self, token_id: int) -> bool:
        """Add the newest token; true when it completes a stop string."""
        return self._match(self._detokenizer.push(token_id))

    def close(self) -> None:
        """The sequence ended: release what was held back for a character or a stop string."""
        if self.stop_reason is None and not self._match(self._detokenizer.flush()):
            self.text += self._matcher.flush()

    def _match(self, piece: str) -> bool:
        self.text += self._matcher.push(piece)
        if self._matcher.matched is None:
            return False
        self.stop_reason = self._matcher.matched
        return True


@dataclass(slots=True)
class Request:
    """Times are readings of time.perf_counter, in seconds."""

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    params: SamplingParams
    choices: list[Choice]
    arrival: float = field(default_factory=time.perf_counter)
    first_token: float | None = None
    finished_at: float | None = None

    @property
    def finished(self) -> bool:
        return all(choice.sequence.is_finished for choice in self.choices)

    def note_progress(self) -> None:
        """Take the time of the first token and of the end."""
        now = time.perf_counter()
        if self.first_token is None:
            self.first_token = now
        if self.finished:
            self.finished_at = now

    def output(self) -> RequestOutput:
        """What there is so far; token ids and text are cumulative."""
        return RequestOutput(
            request_id=self.request_id,
            prompt=self.prompt,
            prompt_token_ids=self.prompt_token_ids,
            outputs=[
                CompletionOutput(
                    index=index,
                    text=choice.text,
                    token_ids=list(choice.sequence.output_token_ids),
                    logprobs=choice.logprobs,
                    finish_reason=_FINISH_REASONS.get(choice.sequence.status),
                    stop_reason=choice.stop_reason,
                )
                for index, choice in enumerate(self.choices)
            ],
            finished=self.finished,
            usage=Usage(
                prompt_tokens=len(self.prompt_token_ids),
                completion_tokens=sum(
                    len(choice.sequence.output_token_ids) for choice in self.choices
                ),
                cached_tokens=max(choice.sequence.num_cached_tokens for choice in self.choices),
            ),
            timings=RequestTimings(
                arrival=self.arrival, first_token=self.first_token, finished=self.finished_at
            ),
        )
