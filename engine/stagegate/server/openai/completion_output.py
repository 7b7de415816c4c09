"""Conversion of engine deltas to the answer or the events of a text completion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from stagegate.server.openai.generation import UsageCount
from stagegate.server.openai.logprobs import CompletionLogprobsWriter
from stagegate.server.openai.responses import (
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    FinishReason,
    UsageInfo,
)
from stagegate.server.openai.streaming import ChunkTemplate, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stagegate.outputs import ChoiceDelta, RequestDelta, TokenLogprobs
    from stagegate.server.openai.generation import Generation
    from stagegate.server.openai.streaming import StreamUsage


@dataclass(frozen=True, slots=True)
class CompletionForm:
    """The format of an answer.

    echoes: text of each prompt, with which its choices begin. only_echo: omit the generated text.
    """

    generation: Generation
    echoes: list[str] | None
    only_echo: bool

    def index_of(self, prompt_index: int, gained: ChoiceDelta) -> int:
        """Number of a choice, counted over all prompts."""
        return prompt_index * self.generation.params.n + gained.index

    def usage(self, count: UsageCount) -> UsageInfo:
        usage = count.total()
        if self.only_echo:
            usage.completion_tokens = 0
            usage.total_tokens = usage.prompt_tokens
        return usage


@dataclass(slots=True)
class _Echo:
    """A prompt as the beginning of its choices. logprobs: arrive with its first delta."""

    text: str
    token_ids: list[int]
    logprobs: list[TokenLogprobs | None] | None = None


class _ChoiceWriter:
    """Text and log-probabilities of one choice, piece by piece."""

    def __init__(self, form: CompletionForm, echo: _Echo | None) -> None:
        params = form.generation.params
        self._form = form
        self._echo = echo
        self._begun = False
        self._logprobs = (
            None
            if params.logprobs is None
            else CompletionLogprobsWriter(
                form.generation.model.client.tokenizer,
                skip_special_tokens=params.skip_special_tokens,
            )
        )

    def pieces(
        self, delta: RequestDelta, gained: ChoiceDelta
    ) -> Iterator[tuple[str, CompletionLogprobs | None]]:
        """The echo, once, and the generated text."""
        if not self._begun and self._echo is not None:
            self._begun = True
            yield self._echo.text, self._echoed_logprobs(self._echo, delta)
        if self._form.only_echo:
            return
        logprobs = (
            None
            if self._logprobs is None or not gained.logprobs
            else self._logprobs.write(gained.logprobs)
        )
        if gained.text or logprobs is not None:
            yield gained.text, logprobs

    def _echoed_logprobs(self, echo: _Echo, delta: RequestDelta) -> CompletionLogprobs | None:
        if delta.prompt_logprobs is not None:
            echo.logprobs = delta.prompt_logprobs
        if self._logprobs is None or echo.logprobs is None:
            return None
        return self._logprobs.echo(echo.token_ids, echo.logprobs)


def _writers(form: CompletionForm) -> list[_ChoiceWriter]:
    prompts = form.generation.prompts
    echoes = [
        None if form.echoes is None else _Echo(form.echoes[index], prompt)
        for index, prompt in enumerate(prompts)
    ]
    return [_ChoiceWriter(form, echo) for echo in echoes for _ in range(form.generation.params.n)]


@dataclass(slots=True)
class _Text:
    """One choice so far."""

    writer: _ChoiceWriter
    logprobs: CompletionLogprobs | None
    pieces: list[str] = field(default_factory=list)
    finish_reason: FinishReason = "abort"
    stop_reason: str | int | None = None

    def add(self, text: str, logprobs: CompletionLogprobs | None) -> None:
        self.pieces.append(text)
        if self.logprobs is not None and logprobs is not None:
            self.logprobs.tokens += logprobs.tokens
            self.logprobs.token_logprobs += logprobs.token_logprobs
            self.logprobs.top_logprobs += logprobs.top_logprobs
            self.logprobs.text_offset += logprobs.text_offset


class CompletionAnswer:
    """Collects a text completion."""

    def __init__(self, form: CompletionForm) -> None:
        self._form = form
        self._usage = UsageCount()
        wanted = form.generation.params.logprobs is not None
        self._texts = [
            _Text(writer, _no_logprobs() if wanted else None) for writer in _writers(form)
        ]

    def add(self, prompt_index: int, delta: RequestDelta) -> None:
        self._usage.add(prompt_index, delta)
        for gained in delta.choices:
            text = self._texts[self._form.index_of(prompt_index, gained)]
            for piece, logprobs in text.writer.pieces(delta, gained):
                text.add(piece, logprobs)
            if gained.finish_reason is not None:
                text.finish_reason = cast("FinishReason", gained.finish_reason)
                text.stop_reason = gained.stop_reason

    def body(self) -> Completion:
        generation = self._form.generation
        return Completion(
            id=generation.request_id,
            object="text_completion",
            created=generation.created,
            model=generation.model.name,
            choices=[
                CompletionChoice(
                    index=index,
                    text="".join(text.pieces),
                    logprobs=text.logprobs,
                    finish_reason=text.finish_reason,
                    stop_reason=text.stop_reason,
                )
                for index, text in enumerate(self._texts)
            ],
            usage=self._form.usage(self._usage),
        )


class CompletionEvents:
    """Writes text completion chunks; the last of a choice has only the finish reason."""

    def __init__(self, form: CompletionForm, usage: StreamUsage) -> None:
        generation = form.generation
        self._form = form
        self._usage = UsageCount()
        self._writers = _writers(form)
        self._chunk = ChunkTemplate(
            generation.request_id,
            "text_completion",
            generation.created,
            generation.model.name,
            usage,
        )

    def of(self, prompt_index: int, delta: RequestDelta) -> str:
        self._usage.add(prompt_index, delta)
        if self._chunk.counts:
            self._chunk.count(self._form.usage(self._usage))
        return "".join(self._events(prompt_index, delta))

    def end(self) -> str:
        return self._chunk.end(self._form.usage(self._usage))

    def _events(self, prompt_index: int, delta: RequestDelta) -> Iterator[str]:
        for gained in delta.choices:
            index = self._form.index_of(prompt_index, gained)
            for text, logprobs in self._writers[index].pieces(delta, gained):
                entries = "null" if logprobs is None else logprobs.model_dump_json()
                yield self._chunk.event(
                    index, f'"text":{to_json(text)},"logprobs":{entries},"finish_reason":null'
                )
            if gained.finish_reason is not None:
                yield self._chunk.event(
                    index,
                    f'"text":"","logprobs":null,"finish_reason":"{gained.finish_reason}",'
                    f'"stop_reason":{to_json(gained.stop_reason)}',
                )


def _no_logprobs() -> CompletionLogprobs:
    return CompletionLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
