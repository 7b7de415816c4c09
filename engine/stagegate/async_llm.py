"""The online entry: coroutines submit requests and stream what they bring back."""

from __future__ import annotations

import asyncio
import weakref
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from stagegate.core.engine_loop import EngineLoop
from stagegate.core.request_stream import RequestStream
from stagegate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from stagegate.core.engine_stats import EngineHistograms, EngineStats
    from stagegate.core.llm_engine import LLMEngine
    from stagegate.outputs import RequestDelta
    from stagegate.sampling import SamplingParams
    from stagegate.text.chat_template import ChatTemplate
    from stagegate.text.tokenizer import Tokenizer

# Characters or token ids from which a text is tokenised and checked in a thread of its own: that
# takes about a millisecond then, which the other requests of the event loop should not wait for.
_LONG_PROMPT = 4096


class AsyncLLM:
    """One loop thread drives an LLMEngine; coroutines of any event loop submit and stream.

    It is an EngineClient (serving/client.py) for an engine in this process.

    engine: from now on only its immutable parts (tokenizer, chat_template, model, max_model_len,
        config) may be used from outside.
    max_waiting: sequences that may wait for a place among those that run.

    The loop starts with `start` and ends with `close`, or when a step raises what is not the fault
    of a request: then every open request ends with an EngineDeadError that carries the cause.
    """

    def __init__(self, engine: LLMEngine, *, max_waiting: int = 1024) -> None:
        if max_waiting < 1:
            msg = f"max_waiting must be at least 1, got {max_waiting}"
            raise ConfigError(msg)
        self.engine = engine
        self._loop = EngineLoop(engine, max_waiting=max_waiting)
        # Its thread would keep the engine of an AsyncLLM that was dropped without `close`.
        weakref.finalize(self, self._loop.stop).atexit = False

    @property
    def model_path(self) -> Path:
        """Folder of the checkpoint."""
        return self.engine.config.model

    @property
    def max_model_len(self) -> int:
        """Most tokens of a sequence, its prompt included."""
        return self.engine.max_model_len

    @property
    def tokenizer(self) -> Tokenizer:
        return self.engine.tokenizer

    @property
    def chat_template(self) -> ChatTemplate:
        """Compiled on first use. Raises TokenizerError when the checkpoint has none."""
        return self.engine.chat_template

    def default_sampling_params(self, *, max_tokens: int | None) -> SamplingParams:
        """As in LLMEngine."""
        return self.engine.default_sampling_params(max_tokens=max_tokens)

    async def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids of a text. Raises InvalidRequestError for text that has no UTF-8 form."""
        encode = partial(self.tokenizer.encode, add_special_tokens=add_special_tokens)
        return encode(text) if len(text) < _LONG_PROMPT else await asyncio.to_thread(encode, text)

    def start(self) -> None:
        """Start the loop; again is harmless. Raises EngineDeadError when it has ended."""
        self._loop.start()

    async def drain(self, timeout_s: float | None = None) -> bool:
        """Refuse new requests and wait until those that are open end; False when time ran out."""
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._loop.drain()), timeout_s)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """End the loop and wait for it. Open requests end with finish reason "abort"."""
        self._loop.close()

    async def generate(
        self,
        prompt: str | list[int],
        params: SamplingParams,
        *,
        request_id: str | None = None,
        priority: int = 0,
    ) -> AsyncGenerator[RequestDelta, None]:
        """Stream one request, text or token ids; the last delta is the one that is finished.

        What comes while the consumer is busy is handed out as one delta. Closing the generator, or
        cancelling the task that waits for it, aborts the request and frees its memory before the
        next step.

        priority: lower runs first. request_id: of no other open request; None makes one up.

        Raises at the first step InvalidRequestError or CapacityError for a request that cannot be
        served, QueueFullError when too many wait, EngineDeadError when the engine takes no requests
        any more; later EngineDeadError when the loop dies. A step that fails is no exception: its
        requests end with finish reason "error", and the delta carries the error.
        """
        self._loop.check_open()  # before the work of tokenising
        make = partial(
            self.engine.make_request,
            prompt,
            params,
            request_id=request_id or f"request-{uuid4().hex}",
            priority=priority,
        )
        is_long = isinstance(prompt, str | list) and len(prompt) >= _LONG_PROMPT
        # A form may take as long to compile.
        slow = is_long or params.grammar is not None
        request = await asyncio.to_thread(make) if slow else make()
        stream = RequestStream(request, asyncio.get_running_loop())
        self._loop.submit(stream)
        finished = False
        try:
            while not finished:
                delta = await stream.take()
                finished = delta.finished
                yield delta
        finally:
            if not finished:
                self._loop.discard(stream)

    async def abort(self, request_id: str) -> bool:
        """End a request; its stream gets a last delta. False when no such request is open."""
        return await asyncio.wrap_future(self._loop.abort(request_id))

    def is_healthy(self, stall_s: float) -> bool:
        """False when the loop has ended, or no step for `stall_s` seconds with work queued."""
        return self._loop.is_healthy(stall_s)

    def stats(self) -> EngineStats:
        """As of the last step; what was submitted since counts as waiting."""
        return self._loop.stats()

    def histograms(self) -> EngineHistograms:
        """Since the start."""
        return self._loop.histograms()
