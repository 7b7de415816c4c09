"""The offline entry: prompts in, finished texts out."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stagegate.build import build_engine
from stagegate.config import EngineConfig
from stagegate.core.run_metrics import RunMetrics, summarize
from stagegate.errors import InvalidRequestError
from stagegate.progress import progress_bar

if TYPE_CHECKING:
    from pathlib import Path

    from stagegate.core.request import Request
    from stagegate.outputs import RequestOutput
    from stagegate.sampling import SamplingParams

Prompt = str | list[int]
Message = Mapping[str, Any]

_DEFAULT_MAX_TOKENS = 16


class GenerationInterrupted(KeyboardInterrupt):
    """Ctrl-C came while an LLM generated. outputs: what there was by then, in order."""

    def __init__(self, outputs: list[RequestOutput]) -> None:
        super().__init__()
        self.outputs = outputs


class LLM:
    """A model ready to generate.

    model: folder with a Hugging Face checkpoint; settings: the other fields of EngineConfig.
    Raises ConfigError and ModelError as build_engine does.
    """

    def __init__(self, model: str | Path, **settings: Any) -> None:
        try:
            config = EngineConfig(model=model, **settings)  # type: ignore[arg-type]
        except TypeError as error:
            raise TypeError(f"LLM: {error}; the settings are the fields of EngineConfig") from None
        self.engine = build_engine(config)
        # Totals of the last `generate` or `chat`.
        self.last_run: RunMetrics | None = None

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        progress: bool | None = None,
    ) -> list[RequestOutput]:
        """Generate for one or many prompts, each text or a list of token ids; results in order.

        params: for all prompts or one each; None takes the checkpoint's recommendation, and 16
        tokens if that has no max_new_tokens. progress: show a bar on standard error; None shows it
        on a terminal.

        Raises InvalidRequestError when a prompt or parameter cannot be served, what the core raised
        when a step failed, and GenerationInterrupted. No request is left behind then.
        """
        batch = _as_batch(prompts)
        per_prompt = self._params_for(len(batch), params)
        before = self.engine.kv_stats()
        started = time.perf_counter()
        with self._requests(batch, per_prompt) as requests:
            try:
                self._run(requests, progress=progress)
            except KeyboardInterrupt as interrupt:
                outputs = [request.output() for request in requests]
                raise GenerationInterrupted(outputs) from interrupt
        outputs = [request.output() for request in requests]
        seconds = time.perf_counter() - started
        self.last_run = summarize(outputs, seconds, before, self.engine.kv_stats())
        return outputs

    def chat(
        self,
        messages: Sequence[Message] | Sequence[Sequence[Message]],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        progress: bool | None = None,
    ) -> list[RequestOutput]:
        """Answer one conversation or many, each a list of {"role": ..., "content": ...}.

        The conversation goes through the checkpoint's chat template; the rest is as in `generate`.
        """
        conversations = _as_conversations(messages)
        prompts: list[Prompt] = [
            self.engine.tokenizer.encode(
                self.engine.chat_template.render(conversation, tools=tools),
                add_special_tokens=False,  # the template has written them
            )
            for conversation in conversations
        ]
        return self.generate(prompts, params, progress=progress)

    def stream(
        self, prompt: Prompt, params: SamplingParams | None = None
    ) -> Iterator[RequestOutput]:
        """Yield the state of one request after every step that advanced it; text is cumulative.

        Leaving the iterator early cancels the request.
        """
        [chosen] = self._params_for(1, params)
        with self._requests([prompt], [chosen]) as [mine]:
            mine.follow()
            while mine.request_id in self.engine.unfinished_requests:
                for request in self.engine.step():
                    if request is mine:
                        _raise_error(output := request.output())
                        yield output

    def _run(self, requests: Sequence[Request], *, progress: bool | None) -> None:
        mine = {request.request_id for request in requests}
        show = sys.stderr.isatty() if progress is None else progress
        with progress_bar(len(requests), enabled=show) as bar:
            while mine:
                advanced = self.engine.step()
                for request in advanced:
                    if request.request_id in mine and request.finished:
                        _raise_error(request.output())
                        mine.remove(request.request_id)
                done = len(requests) - len(mine)
                bar.advance(done, sum(request.params.n for request in advanced))

    @contextmanager
    def _requests(
        self, prompts: Sequence[Prompt], params: Sequence[SamplingParams]
    ) -> Iterator[list[Request]]:
        """Queue requests for the time of the block; what is unfinished after it is cancelled."""
        added: list[Request] = []
        try:
            for prompt, chosen in zip(prompts, params, strict=True):
                request = self.engine.make_request(prompt, chosen)
                self.engine.submit(request)
                added.append(request)
            yield added
        finally:
            for request in added:
                self.engine.abort_request(request.request_id)

    def _params_for(
        self, count: int, params: SamplingParams | Sequence[SamplingParams] | None
    ) -> list[SamplingParams]:
        if params is None:
            params = self.engine.default_sampling_params(
                max_tokens=self.engine.generation.max_new_tokens or _DEFAULT_MAX_TOKENS
            )
        if not isinstance(params, Sequence):
            return [params] * count
        if len(params) != count:
            msg = f"got {len(params)} sampling parameters for {count} prompts; give one or as many"
            raise InvalidRequestError(msg, parameter="params")
        return list(params)


def _as_batch(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    if isinstance(prompts, str):
        return [prompts]
    if prompts and all(isinstance(item, int) for item in prompts):
        return [list(prompts)]  # type: ignore[arg-type]
    return list(prompts)  # type: ignore[arg-type]


def _as_conversations(
    messages: Sequence[Message] | Sequence[Sequence[Message]],
) -> list[Sequence[Message]]:
    if messages and all(isinstance(item, Mapping) for item in messages):
        return [messages]  # type: ignore[list-item]
    return list(messages)  # type: ignore[arg-type]


def _raise_error(output: RequestOutput) -> None:
    if output.error is not None:
        raise output.error
