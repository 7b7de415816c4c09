"""Conversion of engine deltas to the answer or the events of a chat completion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from stagegate.server.openai.generation import UsageCount
from stagegate.server.openai.logprobs import chat_logprobs
from stagegate.server.openai.message_reader import MessageReader
from stagegate.server.openai.responses import (
    ChatChoice,
    ChatCompletion,
    ChatLogprobs,
    ChatMessage,
    ChatTokenLogprob,
    FinishReason,
    FunctionCall,
    ToolCallAnswer,
)
from stagegate.server.openai.streaming import ChunkTemplate, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stagegate.outputs import ChoiceDelta, RequestDelta
    from stagegate.server.openai.generation import Generation
    from stagegate.server.openai.message_reader import MessagePart
    from stagegate.server.openai.streaming import StreamUsage
    from stagegate.server.openai.tool_choice import ToolChoice


@dataclass(frozen=True, slots=True)
class ChatForm:
    """The generation, and the format of the answer.

    reasoning: separate <think>...</think>. thinking: the prompt ends with the open tag.
    """

    generation: Generation
    tools: ToolChoice
    reasoning: bool
    thinking: bool

    def reader(self) -> MessageReader | None:
        """For one choice; None where its text is its content."""
        if not self.reasoning and self.tools.tools is None:
            return None
        return MessageReader(self.tools, reasoning=self.reasoning, thinking=self.thinking)

    def readers(self) -> list[MessageReader | None]:
        return [self.reader() for _ in range(self.generation.params.n)]

    def logprobs(self, delta: ChoiceDelta) -> list[ChatTokenLogprob]:
        tokenizer = self.generation.model.client.tokenizer
        return chat_logprobs(tokenizer, delta.logprobs or ())


@dataclass(slots=True)
class _Message:
    """One choice so far."""

    reader: MessageReader | None
    logprobs: list[ChatTokenLogprob] = field(default_factory=list)
    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[ToolCallAnswer] = field(default_factory=list)
    finish_reason: FinishReason = "abort"
    stop_reason: str | int | None = None

    def add(self, part: MessagePart) -> None:
        self.content.append(part.content)
        self.reasoning.append(part.reasoning)
        for call in part.calls:
            if call.index == len(self.calls):
                function = FunctionCall(name=call.name or "", arguments="")
                self.calls.append(
                    ToolCallAnswer(id=call.id or "", type="function", function=function)
                )
            self.calls[call.index].function.arguments += call.arguments

    def answer(self) -> ChatMessage:
        content, reasoning = "".join(self.content), "".join(self.reasoning)
        message = ChatMessage(
            role="assistant", content=None if self.calls and not content else content, refusal=None
        )
        if reasoning:
            message.reasoning_content = reasoning
        if self.calls:
            message.tool_calls = self.calls
        return message


class ChatAnswer:
    """Collects a chat completion."""

    def __init__(self, form: ChatForm) -> None:
        self._form = form
        self._usage = UsageCount()
        self._messages = [_Message(reader) for reader in form.readers()]

    def add(self, prompt_index: int, delta: RequestDelta) -> None:
        self._usage.add(prompt_index, delta)
        for gained in delta.choices:
            message = self._messages[gained.index]
            message.logprobs += self._form.logprobs(gained)
            if message.reader is None:
                message.content.append(gained.text)
            else:
                message.add(message.reader.read(gained))
            if gained.finish_reason is not None:
                message.finish_reason = finish_reason(gained, message.reader)
                message.stop_reason = gained.stop_reason

    def body(self) -> ChatCompletion:
        generation = self._form.generation
        return ChatCompletion(
            id=generation.request_id,
            object="chat.completion",
            created=generation.created,
            model=generation.model.name,
            choices=[
                ChatChoice(
                    index=index,
                    message=message.answer(),
                    logprobs=self._logprobs(message),
                    finish_reason=message.finish_reason,
                    stop_reason=message.stop_reason,
                )
                for index, message in enumerate(self._messages)
            ],
            usage=self._usage.total(),
        )

    def _logprobs(self, message: _Message) -> ChatLogprobs | None:
        if self._form.generation.params.logprobs is None:
            return None
        return ChatLogprobs(content=message.logprobs, refusal=None)


class ChatEvents:
    """Writes chat completion chunks: the role, then the deltas, then the finish reason."""

    def __init__(self, form: ChatForm, usage: StreamUsage) -> None:
        generation = form.generation
        self._form = form
        self._usage = UsageCount()
        self._readers = form.readers()
        self._begun = [False] * generation.params.n
        # Content is null where there may be calls, until it comes: no calls and none is "".
        self._may_call = form.tools.tools is not None
        self._is_empty = [True] * generation.params.n
        self._chunk = ChunkTemplate(
            generation.request_id,
            "chat.completion.chunk",
            generation.created,
            generation.model.name,
            usage,
        )

    def of(self, prompt_index: int, delta: RequestDelta) -> str:
        self._usage.add(prompt_index, delta)
        if self._chunk.counts:
            self._chunk.count(self._usage.total())
        return "".join(self._events(delta))

    def end(self) -> str:
        return self._chunk.end(self._usage.total())

    def _events(self, delta: RequestDelta) -> Iterator[str]:
        for gained in delta.choices:
            index = gained.index
            if not self._begun[index]:
                self._begun[index] = True
                content = "null" if self._may_call else '""'
                yield self._event(index, f'{{"role":"assistant","content":{content}}}')
            logprobs = self._logprobs(gained)
            for fields in self._deltas(gained):
                yield self._event(index, fields, logprobs)
                logprobs = "null"  # once
            if logprobs != "null":
                yield self._event(index, "{}", logprobs)
            if gained.finish_reason is not None:
                if self._may_call and self._is_empty[index]:
                    yield self._event(index, '{"content":""}')
                reason = finish_reason(gained, self._readers[index])
                yield self._chunk.event(
                    index,
                    f'"delta":{{}},"logprobs":null,"finish_reason":"{reason}",'
                    f'"stop_reason":{to_json(gained.stop_reason)}',
                )

    def _event(self, index: int, delta: str, logprobs: str = "null") -> str:
        return self._chunk.event(
            index, f'"delta":{delta},"logprobs":{logprobs},"finish_reason":null'
        )

    def _deltas(self, gained: ChoiceDelta) -> Iterator[str]:
        reader = self._readers[gained.index]
        if reader is None:
            if gained.text:
                yield f'{{"content":{to_json(gained.text)}}}'
            return
        part = reader.read(gained)
        if part.content or part.calls:
            self._is_empty[gained.index] = False
        if part.reasoning:
            yield f'{{"reasoning_content":{to_json(part.reasoning)}}}'
        if part.content:
            yield f'{{"content":{to_json(part.content)}}}'
        for call in part.calls:
            fields: dict[str, object] = {"index": call.index}
            if call.name is None:
                fields["function"] = {"arguments": call.arguments}
            else:
                function = {"name": call.name, "arguments": call.arguments}
                fields |= {"id": call.id, "type": "function", "function": function}
            yield f'{{"tool_calls":[{to_json(fields)}]}}'

    def _logprobs(self, gained: ChoiceDelta) -> str:
        if not gained.logprobs:
            return "null"
        return ChatLogprobs(content=self._form.logprobs(gained), refusal=None).model_dump_json()


def finish_reason(gained: ChoiceDelta, reader: MessageReader | None) -> FinishReason:
    """The finish reason; tool_calls if the text ended by itself and all its calls are complete."""
    if gained.finish_reason == "stop" and reader is not None and reader.has_whole_calls:
        return "tool_calls"
    return cast("FinishReason", gained.finish_reason)
