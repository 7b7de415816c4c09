"""A request as its caller sees it: one prompt, one or more sequences, text so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stagegate.core.sequence import SequenceStatus
from stagegate.outputs import (
    ChoiceDelta,
    CompletionOutput,
    RequestDelta,
    RequestOutput,
    RequestTimings,
    TokenLogprobs,
    Usage,
)
from stagegate.text.stopping import StopMatcher

if TYPE_CHECKING:
    from stagegate.core.sequence import Sequence
    from stagegate.errors import StagegateError
    from stagegate.execution.step import StepOutput
    from stagegate.sampling import SamplingParams
    from stagegate.text.detokenizer import Detokenizer

_FINISH_REASONS = {
    SequenceStatus.FINISHED_STOPPED: "stop",
    SequenceStatus.FINISHED_LENGTH: "length",
    SequenceStatus.FINISHED_ABORTED: "abort",
    SequenceStatus.FINISHED_ERROR: "error",
}


class Choice:
    """Text of one sequence: its new tokens go in, its visible text comes out.

    is_followed: whether its tokens are wanted as they come, to find a stop string, to go with their
        log-probabilities, or because somebody reads along. Else all become text when it is read or
        ends, which takes a fraction of the time.
    """

    def __init__(
        self, sequence: Sequence, detokenizer: Detokenizer, params: SamplingParams
    ) -> None:
        self.sequence = sequence
        self.logprobs: list[TokenLogprobs] | None = None if params.logprobs is None else []
        self.is_followed = bool(params.stop) or params.logprobs is not None
        self.counted_at: float | None = None  # when its newest token was counted
        self._pieces: list[str] = []
        self._num_read = sequence.num_prompt_tokens  # tokens that are text, or the prompt
        self._params = params
        self._detokenizer = detokenizer
        self._matcher = StopMatcher(
            tuple(params.stop), include_stop_str_in_output=params.include_stop_str_in_output
        )
        # What `take` has handed out; num_taken: tokens.
        self._taken_pieces = 0
        self.num_taken = 0
        self._taken_end = False

    @property
    def text(self) -> str:
        """All of the visible text."""
        self.catch_up()
        return "".join(self._pieces)

    @property
    def finish_reason(self) -> str | None:
        status = self.sequence.status
        return _FINISH_REASONS[status] if status.is_finished else None

    def catch_up(self) -> str | None:
        """Make text of the tokens that are none yet; the stop string they complete, if any.

        The sequence forgets the tokens behind a stop string.
        """
        sequence = self.sequence
        if self._num_read == len(sequence.token_ids):
            return None
        new = sequence.token_ids[self._num_read :]
        self._num_read += len(new)
        if not self._params.stop:
            if sequence.ended_by_token and not self._params.include_stop_str_in_output:
                del new[-1]
            self._show(self._detokenizer.push(new))
            return None
        ahead = len(new)
        for token_id in new:
            ahead -= 1
            stop = self._push_one(token_id, ahead)
            if stop is not None:
                sequence.drop_last(ahead)
                self._num_read -= ahead
                if self.logprobs is not None:
                    del self.logprobs[len(self.logprobs) - ahead :]
                return stop
        return None

    def _push_one(self, token_id: int, ahead: int) -> str | None:
        """ahead: tokens that the sequence has behind this one."""
        params, sequence = self._params, self.sequence
        ends_text = sequence.ended_by_token and ahead == 0
        left_out = ends_text and not params.include_stop_str_in_output
        hidden = left_out or self._detokenizer.hides(token_id)
        if sequence.num_output_tokens - ahead <= params.min_tokens:  # too early for a stop string
            self._show("" if hidden else self._detokenizer.push([token_id]))
            return None
        detokenizer = self._detokenizer
        text = detokenizer.text_of(token_id) if hidden else detokenizer.push([token_id])
        self._show(self._matcher.push(text, hidden=hidden))
        return self._matcher.matched

    def close(self) -> None:
        """The sequence ended: release what was held back for a character or a stop string."""
        if self._matcher.matched is None:
            self.catch_up()
            self._show(self._matcher.push(self._detokenizer.flush()) + self._matcher.flush())

    def push_logprobs(self, output: StepOutput, rows: range) -> None:
        """Take the log-probabilities of the newest tokens: these rows of a step's output."""
        assert self.logprobs is not None
        assert self._params.logprobs is not None
        self.logprobs += [token_logprobs(output, row, self._params.logprobs) for row in rows]

    def take(self, index: int) -> ChoiceDelta | None:
        """What is new since the last call, in time proportional to it; None when nothing is.

        Of a choice that is followed: else its text is not there yet.
        """
        sequence = self.sequence
        tokens = sequence.token_ids[sequence.num_prompt_tokens + self.num_taken :]
        finish_reason = self.finish_reason
        if not tokens and (finish_reason is None or self._taken_end):
            return None
        logprobs = None if self.logprobs is None else self.logprobs[self.num_taken :]
        text = "".join(self._pieces[self._taken_pieces :])
        self.num_taken += len(tokens)
        self._taken_pieces = len(self._pieces)
        self._taken_end = finish_reason is not None
        return ChoiceDelta(index, text, tokens, logprobs, finish_reason, sequence.stop_reason)

    def _show(self, text: str) -> None:
        if text:
            self._pieces.append(text)


@dataclass(slots=True)
class Request:
    """Times are readings of time.perf_counter, in seconds. error: why a step of it failed.

    scheduled: when its first sequence left the queue; known when the request has ended.
    prompt_logprobs: those known so far; the first entry is None.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    params: SamplingParams
    choices: list[Choice]
    arrival: float = field(default_factory=time.perf_counter)
    scheduled: float | None = None
    first_token: float | None = None
    finished_at: float | None = None
    error: StagegateError | None = None
    prompt_logprobs: list[TokenLogprobs | None] = field(default_factory=lambda: [None])
    _taken_prompt_logprobs: bool = False

    @property
    def finished(self) -> bool:
        return all(choice.sequence.status.is_finished for choice in self.choices)

    def follow(self) -> None:
        """Somebody reads along."""
        for choice in self.choices:
            choice.is_followed = True

    def push_prompt_logprobs(self, output: StepOutput, rows: range) -> None:
        """Take those of the next prompt tokens: these rows of a step's output."""
        assert self.params.prompt_logprobs is not None
        self.prompt_logprobs.extend(
            token_logprobs(output, row, self.params.prompt_logprobs) for row in rows
        )

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
                    token_ids=choice.sequence.output_token_ids,
                    logprobs=None if choice.logprobs is None else list(choice.logprobs),
                    finish_reason=choice.finish_reason,
                    stop_reason=choice.sequence.stop_reason,
                )
                for index, choice in enumerate(self.choices)
            ],
            finished=self.finished,
            usage=self._usage(sum(choice.sequence.num_output_tokens for choice in self.choices)),
            timings=self._timings(),
            prompt_logprobs=self._known_prompt_logprobs(),
            error=self.error,
        )

    def take_delta(self) -> RequestDelta | None:
        """What is new since the last call, in time proportional to it; None when nothing is.

        Of a request that is followed. While prompt log-probabilities are being computed, everything
        waits for them.
        """
        prompt_logprobs = None
        if not self._taken_prompt_logprobs and self.params.prompt_logprobs is not None:
            prompt_logprobs = self._known_prompt_logprobs()
            if prompt_logprobs is None and not self.finished:
                return None
        parts: list[ChoiceDelta] = []
        completion_tokens, finished = 0, True
        for index, choice in enumerate(self.choices):
            part = choice.take(index)
            if part is not None:
                parts.append(part)
            completion_tokens += choice.num_taken
            if not choice.sequence.status.is_finished:
                finished = False
        if not parts:
            return None
        self._taken_prompt_logprobs = True
        return RequestDelta(
            self.request_id,
            tuple(parts),
            finished,
            self.prompt_token_ids,
            self._usage(completion_tokens),
            self._timings() if finished else None,
            prompt_logprobs,
            self.error,
        )

    def _known_prompt_logprobs(self) -> list[TokenLogprobs | None] | None:
        asked = self.params.prompt_logprobs is not None
        complete = len(self.prompt_logprobs) == len(self.prompt_token_ids)
        return list(self.prompt_logprobs) if asked and complete else None

    def _usage(self, completion_tokens: int) -> Usage:
        cached = [choice.sequence.num_cached_tokens for choice in self.choices]
        return Usage(len(self.prompt_token_ids), completion_tokens, max(cached))

    def _timings(self) -> RequestTimings:
        return RequestTimings(
            first_token_s=self._since_arrival(self.first_token),
            finished_s=self._since_arrival(self.finished_at),
            decode_tokens=max(choice.sequence.num_output_tokens for choice in self.choices) - 1,
            scheduled_s=self._since_arrival(self.scheduled),
        )

    def _since_arrival(self, reading: float | None) -> float | None:
        return None if reading is None else reading - self.arrival


def token_logprobs(output: StepOutput, row: int, num_top: int) -> TokenLogprobs:
    """Log-probabilities of the token in one row of a step's output, and of the `num_top` best."""
    assert output.logprobs is not None
    assert output.top_ids is not None
    assert output.top_logprobs is not None
    return TokenLogprobs(
        token_id=int(output.token_ids[row]),
        logprob=float(output.logprobs[row]),
        top=tuple(
            zip(
                output.top_ids[row, :num_top].tolist(),
                output.top_logprobs[row, :num_top].tolist(),
                strict=True,
            )
        ),
    )
