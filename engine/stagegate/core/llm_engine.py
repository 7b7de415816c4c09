"""The engine loop: requests in, one step at a time, requests out."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from stagegate.core.input_processor import InputProcessor
from stagegate.core.request import Choice, Request
from stagegate.core.scheduler import Scheduler
from stagegate.core.sequence import Sequence, SequenceStatus
from stagegate.errors import ConfigError, DeviceLostError, InvalidRequestError, StagegateError
from stagegate.execution.step_builder import build_step_input
from stagegate.execution.worker import Worker
from stagegate.kv.block_manager import BlockManager
from stagegate.kv.prefix_cache import PrefixCache
from stagegate.kv.sizing import kv_capacity_tokens, memory_table
from stagegate.kv.slot_manager import SlotManager
from stagegate.models.generation_config import GenerationConfig
from stagegate.models.registry import load_model_config
from stagegate.sampling import SamplingParams
from stagegate.text.chat_template import ChatTemplate
from stagegate.text.end_tokens import end_tokens
from stagegate.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, KeysView

    from stagegate.config import EngineConfig
    from stagegate.core.scheduler import ScheduledStep
    from stagegate.execution.step import StepOutput
    from stagegate.execution.worker import StepExecutor
    from stagegate.kv.manager import KVManager, KVStats
    from stagegate.models.decoder_config import DecoderConfig

    # A step that failed, and why.
    _Failure = tuple[ScheduledStep, BaseException]


class LLMEngine:
    """Serves requests on one model. Not thread-safe, but for `make_request`: one loop owns it.

    worker: what executes the steps; None loads the checkpoint's weights onto the device.

    Raises ConfigError for settings the model cannot have, ModelError for a checkpoint that cannot
    be loaded.
    """

    def __init__(self, config: EngineConfig, *, worker: StepExecutor | None = None) -> None:
        self.config = config
        self.model = load_model_config(config.model, dtype=config.dtype)
        self.generation = GenerationConfig.read(config.model)
        self.tokenizer = Tokenizer.load(config.model)
        self.dtype = self.model.dtype
        self.eos_token_ids = end_tokens(self.model, self.generation, self.tokenizer)
        self.max_model_len = _max_model_len(config, self.model.decoder)
        _check_flashinfer(config, self.model.decoder, self.dtype)
        self.worker = worker or Worker(config, self.model, self.dtype)
        free_bytes = self.worker.prepare(
            max_tokens=config.max_num_batched_tokens,
            max_rows=config.max_logits_rows,
            max_positions=self.max_model_len,
        )
        capacity = kv_capacity_tokens(
            config, self.model.decoder, self.dtype, self.max_model_len, free_bytes
        )
        self._kv = _kv_manager(config, capacity, salt=f"{config.model}:{self.dtype}".encode())
        self.worker.allocate(self._kv.num_slots)
        self._scheduler = Scheduler(config, self._kv)
        self._inputs = InputProcessor(
            self.tokenizer,
            vocab_size=self.model.decoder.vocab_size,
            eos_token_ids=self.eos_token_ids,
            max_model_len=self.max_model_len,
            seed=config.seed,
            check_capacity=self._scheduler.check_capacity,
        )
        self._requests: dict[str, Request] = {}
        self._owners: dict[int, tuple[Request, Choice]] = {}
        # Steps that run or are queued behind one that does, each with what waits for its result.
        self._under_way: deque[tuple[ScheduledStep, Callable[[], StepOutput]]] = deque()
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
        held = self.worker.memory_bytes
        return memory_table(held, self._kv.stats().capacity, self.max_model_len)

    def kv_stats(self) -> KVStats:
        return self._kv.stats()

    def default_sampling_params(self, *, max_tokens: int | None) -> SamplingParams:
        """What the model's authors recommend in generation_config.json.

        max_tokens: None is their max_new_tokens, or up to the model's length if they have none.
        """
        if max_tokens is None:
            max_tokens = self.generation.max_new_tokens
        min_tokens = self.generation.min_new_tokens
        return SamplingParams(
            max_tokens=max_tokens,
            min_tokens=min_tokens if max_tokens is None else min(min_tokens, max_tokens),
            stop=self.generation.stop_strings,
            min_p=self.generation.min_p,
            temperature=self.generation.temperature,
            top_p=self.generation.top_p,
            top_k=self.generation.top_k,
            repetition_penalty=self.generation.repetition_penalty,
        )

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
        return self._inputs.make_request(prompt, params, request_id=request_id, priority=priority)

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

        Where steps overlap with the host, the next one is queued behind the one that runs, so that
        the device waits neither for scheduling nor for text; the first call starts a step and
        returns nothing. What ends a sequence is found one token late then, and that token dropped.
        A step whose penalties or forms have to see each token is waited for first.

        When the core fails, or an interrupt comes, the requests of the step end with finish reason
        "error" and carry the error; all others go on. Raises DeviceLostError when the device failed
        for good, and what interrupts.
        """
        if not self._under_way:
            failure = self._start()
            if failure is not None:
                return self._end_failed([], [failure])
            if not self._under_way or self.worker.overlaps:
                return []
        step, finish = self._under_way[0]
        goes_ahead = self.worker.overlaps and step.lets_the_next_run
        failure = self._start() if goes_ahead else None
        self._under_way.popleft()
        touched: list[Request] = []
        failures: list[_Failure] = []
        try:
            output = finish()
        except BaseException as error:
            failures.append((step, error))
        else:
            advanced = self._scheduler.update(step, output.token_ids[: step.num_samples])
            if self.worker.overlaps and failure is None and not self._under_way:
                failure = self._start()
            touched = self._advance(step, output, advanced)
        if failure is not None:
            failures.append(failure)
        return self._end_failed(touched, failures)

    def _start(self) -> _Failure | None:
        """Start the next step, if there is work for one; what became of it when that failed."""
        step = self._scheduler.schedule()
        if step is None:
            return None
        try:
            self._under_way.append((step, self.worker.submit(build_step_input(step, self._kv))))
        except BaseException as error:
            return step, error
        return None

    def _end_failed(self, touched: list[Request], failures: list[_Failure]) -> list[Request]:
        """`touched`, and the requests that end with steps that failed.

        Raises what is more than the affair of these requests, when they have ended.
        """
        for step, error in failures:
            known = {request.request_id for request in touched}
            failed = self._fail(step, error)
            touched += [request for request in failed if request.request_id not in known]
        for _, error in failures:
            if not isinstance(error, StagegateError) or isinstance(error, DeviceLostError):
                raise error
        return touched

    def _advance(
        self, step: ScheduledStep, output: StepOutput, advanced: list[Sequence]
    ) -> list[Request]:
        rows = {
            item.sequence.seq_id: row
            for row, item in enumerate(item for item in step.sequences if item.samples)
        }
        self._push_prompt_logprobs(step, output, first_row=len(rows))
        touched: dict[str, Request] = {}
        for sequence in advanced:
            request, choice = self._owners[sequence.seq_id]
            touched[request.request_id] = request
            if request.error is not None:
                continue  # of another of its sequences, just now
            try:
                choice.push_logprobs(output, rows[sequence.seq_id])
                stop = choice.push(sequence.token_ids[-1])
            except Exception as error:
                sequence.finish(SequenceStatus.FINISHED_ERROR)
                self._end_with_error(request, _text_error(error))
                continue
            if stop is not None:
                self._stop(sequence, stop)
            if sequence.guide is not None and sequence.guide.error is not None:
                self._end_with_error(request, StagegateError(f"guidance: {sequence.guide.error}"))
            if sequence.is_finished:
                choice.close()
        now = time.perf_counter()
        for request in touched.values():
            if request.first_token is None:
                request.first_token = now
            if request.finished:
                self._retire(request, now)
        return list(touched.values())

    def _push_prompt_logprobs(
        self, step: ScheduledStep, output: StepOutput, *, first_row: int
    ) -> None:
        for item in step.sequences:
            if item.scored:
                owner = self._owners.get(item.sequence.seq_id)
                if owner is not None:  # else it was cancelled while the step ran
                    owner[0].push_prompt_logprobs(output, first_row, len(item.scored))
                first_row += len(item.scored)

    def _stop(self, sequence: Sequence, stop: str) -> None:
        """The newest token completed a stop string; it may have been the last one anyway."""
        if not self._scheduler.finish(sequence.seq_id, SequenceStatus.FINISHED_STOPPED, stop):
            sequence.finish(SequenceStatus.FINISHED_STOPPED, stop)

    def _fail(self, step: ScheduledStep, error: BaseException) -> list[Request]:
        if not isinstance(error, StagegateError):
            error = StagegateError(f"the step was interrupted: {error!r}")
        touched: dict[str, Request] = {}
        for sequence in self._scheduler.rollback(step):
            request, _ = self._owners[sequence.seq_id]
            touched[request.request_id] = request
        now = time.perf_counter()
        for request in touched.values():
            self._end_with_error(request, error)
            self._retire(request, now)
        return list(touched.values())

    def _end_with_error(self, request: Request, error: StagegateError) -> None:
        """End what still runs of a request; it is not retired yet."""
        request.error = error
        for choice in request.choices:
            self._scheduler.finish(choice.sequence.seq_id, SequenceStatus.FINISHED_ERROR)
            choice.close()

    def _retire(self, request: Request, now: float) -> None:
        request.finished_at = now
        request.scheduled = min(
            (
                choice.sequence.admitted_at
                for choice in request.choices
                if choice.sequence.admitted_at is not None
            ),
            default=None,
        )
        del self._requests[request.request_id]
        for choice in request.choices:
            del self._owners[choice.sequence.seq_id]


def _text_error(cause: Exception) -> StagegateError:
    """Of one request, whose tokens could not be made text; the engine goes on."""
    error = StagegateError(f"the text of the request failed: {type(cause).__name__}")
    error.__cause__ = cause
    return error


def _kv_manager(config: EngineConfig, capacity: int, *, salt: bytes) -> KVManager:
    if config.layout == "slot":
        return SlotManager(capacity)
    return BlockManager(
        capacity,
        block_size=config.block_size,
        backend=config.backend,
        prefix_cache=(
            PrefixCache(config.block_size, salt=salt) if config.enable_prefix_cache else None
        ),
    )


def _max_model_len(config: EngineConfig, decoder: DecoderConfig) -> int:
    longest = decoder.max_position_embeddings
    if config.max_model_len is None:
        return longest
    if config.max_model_len > longest:
        msg = (
            f"max_model_len={config.max_model_len} is more than the {longest} positions the model "
            "was trained for; use at most that"
        )
        raise ConfigError(msg)
    return config.max_model_len


def _check_flashinfer(config: EngineConfig, decoder: DecoderConfig, dtype: str) -> None:
    """What is known only with the checkpoint."""
    if config.backend != "flashinfer":
        return
    if dtype == "f32":
        msg = (
            "backend='flashinfer' needs dtype 'f16' or 'bf16', the checkpoint is in 'f32'; state "
            "one, or use backend='native'"
        )
        raise ConfigError(msg)
    if decoder.head_dim not in (64, 128):
        msg = (
            "backend='flashinfer' needs a model with heads of 64 or 128, this one has "
            f"{decoder.head_dim}; use backend='native'"
        )
        raise ConfigError(msg)
