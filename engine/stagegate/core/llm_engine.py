"""Requests in, text out, one step at a time."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from stagegate.core.sequence import SequenceStatus
from stagegate.core.step_pipeline import StepPipeline
from stagegate.errors import DeviceLostError, InvalidRequestError, StagegateError
from stagegate.kv.sizing import memory_table
from stagegate.text.chat_template import ChatTemplate

if TYPE_CHECKING:
    from collections.abc import KeysView

    from stagegate.config import EngineConfig
    from stagegate.core.input_processor import InputProcessor
    from stagegate.core.request import Choice, Request
    from stagegate.core.scheduler import Scheduler
    from stagegate.core.step_pipeline import Progress, StepFailure
    from stagegate.execution.executor import Executor
    from stagegate.execution.step import StepOutput
    from stagegate.kv.manager import KVManager, KVStats
    from stagegate.models.generation_config import GenerationConfig
    from stagegate.models.model_config import ModelConfig
    from stagegate.sampling import SamplingParams
    from stagegate.text.tokenizer import Tokenizer


class LLMEngine:
    """Serves requests on one model. Not thread-safe, but for `make_request`: one loop owns it.

    It takes its parts ready for use; `stagegate.build.build_engine` makes them of a configuration.

    inputs: makes requests of prompts. kv: where the scheduler's sequences have their memory.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        model: ModelConfig,
        generation: GenerationConfig,
        tokenizer: Tokenizer,
        max_model_len: int,
        inputs: InputProcessor,
        kv: KVManager,
        scheduler: Scheduler,
        executor: Executor,
    ) -> None:
        self.config = config
        self.model = model
        self.generation = generation
        self.tokenizer = tokenizer
        self.max_model_len = max_model_len
        self.executor = executor
        self.inputs = inputs
        self._kv = kv
        self._scheduler = scheduler
        self._pipeline = StepPipeline(scheduler, executor)
        self._requests: dict[str, Request] = {}
        self._owners: dict[int, tuple[Request, Choice]] = {}
        self._chat_template: ChatTemplate | None = None

    @property
    def unfinished_requests(self) -> KeysView[str]:
        """Ids of the requests that wait or run."""
        return self._requests.keys()

    @property
    def num_running(self) -> int:
        """Sequences that hold memory."""
        return self._scheduler.num_running

    @property
    def num_waiting(self) -> int:
        """Sequences that wait for a place, or for the memory they gave up."""
        return self._scheduler.num_waiting

    @property
    def num_preemptions(self) -> int:
        return self._scheduler.num_preemptions

    @property
    def chat_template(self) -> ChatTemplate:
        """Compiled on first use. Raises TokenizerError when the checkpoint has none."""
        if self._chat_template is None:
            self._chat_template = ChatTemplate.load(self.config.model)
        return self._chat_template

    def memory_table(self) -> str:
        """What the memory of the device went to, for people to read."""
        held = self.executor.memory_bytes
        return memory_table(held, self._kv.stats().capacity, self.max_model_len)

    def kv_stats(self) -> KVStats:
        return self._kv.stats()

    def default_sampling_params(self, *, max_tokens: int | None) -> SamplingParams:
        """As in GenerationConfig.sampling_params."""
        return self.generation.sampling_params(max_tokens=max_tokens)

    def add_request(
        self,
        prompt: str | list[int],
        params: SamplingParams,
        *,
        request_id: str | None = None,
        priority: int = 0,
    ) -> str:
        """Queue a prompt, text or token ids, and return the id of its request.

        priority: lower runs first. Raises InvalidRequestError for a prompt or parameter that cannot
        be served, CapacityError for a prompt that can never fit; nothing is queued then.
        """
        request = self.make_request(prompt, params, request_id=request_id, priority=priority)
        self.submit(request)
        return request.request_id

    def make_request(
        self,
        prompt: str | list[int],
        params: SamplingParams,
        *,
        request_id: str | None = None,
        priority: int = 0,
    ) -> Request:
        """Check and tokenise a prompt, from any thread; `submit` queues the result.

        Arguments and errors are those of `add_request`.
        """
        return self.inputs.make_request(prompt, params, request_id=request_id, priority=priority)

    def submit(self, request: Request) -> None:
        """Queue a request. InvalidRequestError when its id is that of an unfinished one."""
        if request.request_id in self._requests:
            msg = f"request_id {request.request_id!r} is in use; choose another"
            raise InvalidRequestError(msg, parameter="request_id")
        for choice in request.choices:
            self._scheduler.add(choice.sequence)
            self._owners[choice.sequence.seq_id] = (request, choice)
        self._requests[request.request_id] = request

    def abort_request(self, request_id: str) -> Request | None:
        """End a request and free its memory; None when it is unknown or has finished."""
        request = self._requests.get(request_id)
        if request is None:
            return None
        for choice in request.choices:
            if self._scheduler.abort(choice.sequence.seq_id):
                choice.close()
        self._retire(request, time.perf_counter())
        return request

    def step(self) -> list[Request]:
        """Advance the batch by one step; returns the requests that got a token or ended.

        Where steps overlap with the host, the first call starts a step and returns nothing.

        When the core fails, or an interrupt comes, the requests of the step end with finish reason
        "error" and carry the error; all others go on. Raises DeviceLostError when the device failed
        for good, and what interrupts.
        """
        progress = self._pipeline.advance()
        touched = self._push(progress)
        for failure in progress.failures:  # when what came before them is text
            self._fail(failure, touched)
        for failure in progress.failures:
            error = failure.error
            if not isinstance(error, StagegateError) or isinstance(error, DeviceLostError):
                raise error  # more than the affair of these requests
        return list(touched.values())

    def _push(self, progress: Progress) -> dict[str, Request]:
        """Make text of what a step brought; the requests that got a token, by id."""
        touched: dict[str, Request] = {}
        output, gains = progress.output, progress.gains
        if output is None:
            return touched
        for sequence, rows in gains.prompt_logprobs:
            self._owners[sequence.seq_id][0].push_prompt_logprobs(output, rows)
        begun: list[Request] = []
        ended: list[Request] = []
        owners = self._owners
        for sequence, rows in gains.tokens:
            request, choice = owners[sequence.seq_id]
            touched[request.request_id] = request
            if request.first_token is None:
                begun.append(request)
            if choice.is_followed or sequence.status.is_finished:
                if request.error is None:  # else of another of its sequences, just now
                    self._push_tokens(request, choice, output, rows)
                if sequence.status.is_finished:
                    ended.append(request)
        now = time.perf_counter()
        for request in begun:
            request.first_token = now
        for request in ended:
            if request.finished and request.request_id in self._requests:
                self._retire(request, now)
        return touched

    def _push_tokens(
        self, request: Request, choice: Choice, output: StepOutput, rows: range
    ) -> None:
        sequence = choice.sequence
        try:
            if choice.logprobs is not None:
                choice.push_logprobs(output, rows)
            stop = choice.catch_up()
        except Exception as error:
            sequence.finish(SequenceStatus.FINISHED_ERROR)
            self._end_with_error(request, _text_error(error))
            return
        if stop is not None and not self._scheduler.finish(
            sequence.seq_id, SequenceStatus.FINISHED_STOPPED, stop
        ):
            # The token that completed the stop string was the last one anyway.
            sequence.finish(SequenceStatus.FINISHED_STOPPED, stop)
        if sequence.grammar_matcher is not None and sequence.grammar_matcher.error is not None:
            self._end_with_error(
                request, StagegateError(f"grammar: {sequence.grammar_matcher.error}")
            )
        if sequence.is_finished:
            choice.close()

    def _fail(self, failure: StepFailure, touched: dict[str, Request]) -> None:
        """End the requests of a step that failed, and add them to those that were touched."""
        error = failure.error
        if not isinstance(error, StagegateError):
            error = StagegateError(f"the step was interrupted: {error!r}")
        ended = self._pipeline.roll_back(failure)
        owners = [self._owners[sequence.seq_id][0] for sequence in ended]
        failed = {request.request_id: request for request in owners}
        now = time.perf_counter()
        for request in failed.values():
            self._end_with_error(request, error)
            self._retire(request, now)
        touched |= failed

    def _end_with_error(self, request: Request, error: StagegateError) -> None:
        """End what still runs of a request; it is not retired yet."""
        request.error = error
        for choice in request.choices:
            self._scheduler.finish(choice.sequence.seq_id, SequenceStatus.FINISHED_ERROR)
            with suppress(Exception):  # text may be what failed
                choice.close()

    def _retire(self, request: Request, now: float) -> None:
        request.finished_at = now
        admitted = [choice.sequence.admitted_at for choice in request.choices]
        request.scheduled = min((at for at in admitted if at is not None), default=None)
        del self._requests[request.request_id]
        for choice in request.choices:
            del self._owners[choice.sequence.seq_id]


def _text_error(cause: Exception) -> StagegateError:
    """Of one request, whose tokens could not be made text; the engine goes on."""
    error = StagegateError(f"the text of the request failed: {type(cause).__name__}")
    error.__cause__ = cause
    return error
