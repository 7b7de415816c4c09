"""Complete and streamed answers with calls are equal; the model is scripted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stagegate.server.openai.responses import ChatCompletionChunk
from stagegate.text.tokenizer import Tokenizer
from suites.online.conftest import Say
from suites.online.live_server import LiveServer
from suites.online.test_server_tools import CALL, OTHER, TOOLS, ask, ask_for_chunks


class Message(NamedTuple):
    """The fields of a choice that are compared."""

    content: str | None
    reasoning: str
    calls: list[tuple[str, str]]
    finish_reason: str | None


def answers(server: LiveServer, *, stream: bool, **fields: Any) -> list[Message]:
    """The choices of an answer; streamed, as the official client puts the chunks together."""
    fields = {"tools": TOOLS, "n": 2} | fields
    if stream:
        chunks_of_all = ask_for_chunks(server, **fields)
        return [streamed(chunks_of_all, index) for index in range(2)]
    return [
        Message(
            choice.message.content,
            choice.message.reasoning_content or "",
            [
                (call.function.name, call.function.arguments)
                for call in choice.message.tool_calls or ()
            ],
            choice.finish_reason,
        )
        for choice in ask(server, **fields).choices
    ]


def streamed(all_chunks: list[ChatCompletionChunk], index: int) -> Message:
    choices = [choice for chunk in all_chunks for choice in chunk.choices if choice.index == index]
    contents = [choice.delta.content for choice in choices if choice.delta.content is not None]
    calls: list[tuple[str, str]] = []
    for call in (call for choice in choices for call in choice.delta.tool_calls or ()):
        if call.function.name is not None:
            calls.append((call.function.name, ""))
        name, arguments = calls[call.index]
        calls[call.index] = (name, arguments + (call.function.arguments or ""))
    return Message(
        "".join(contents) if contents else None,
        "".join(choice.delta.reasoning_content or "" for choice in choices),
        calls,
        choices[-1].finish_reason,
    )


IN_STRING = '{"city": "</tool_call>\\n</think><tool_call>{\\"name\\": \\"x\\"}}"}'
SOUGHT = f'<tool_call>\n{{"name": "weather", "arguments": {IN_STRING}}}\n</tool_call>'
NAMED = {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["auto", "required", NAMED])
def test_a_tag_in_a_string_is_text(
    scripted: LiveServer, say: Say, choice: Any, stream: bool
) -> None:
    say(SOUGHT)
    wanted = Message(None, "", [("weather", IN_STRING)], "tool_calls")
    assert answers(scripted, stream=stream, tool_choice=choice) == [wanted] * 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["auto", "required", NAMED])
@pytest.mark.parametrize("kept", ['weather"', '"arguments": {"city"', "<tool_call>{", '"}'])
def test_a_call_that_is_cut_off_has_the_arguments_so_far(
    scripted: LiveServer, say: Say, model_path: Path, choice: Any, kept: str, stream: bool
) -> None:
    say(SOUGHT)
    text = SOUGHT[: SOUGHT.rindex(kept) + len(kept)]
    max_tokens = len(Tokenizer.load(model_path).encode(text))
    found = answers(scripted, stream=stream, tool_choice=choice, max_tokens=max_tokens)
    assert found[0] == found[1]
    content, _, [(name, arguments)], finish_reason = found[0]
    assert (content, name, finish_reason) == (None, "weather", "length")
    assert IN_STRING.startswith(arguments)
    assert len(arguments) >= len(text.partition('"arguments": ')[2]) - 1  # half a token


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("max_tokens", [1, 2, 3])
def test_no_part_of_a_forced_call_is_content(
    scripted: LiveServer, say: Say, max_tokens: int, stream: bool
) -> None:
    """A single function is known before the model has generated its name."""
    say(SOUGHT)
    fields: dict[str, Any] = {"stream": stream, "max_tokens": max_tokens}
    assert (
        answers(scripted, tool_choice="required", **fields) == [Message("", "", [], "length")] * 2
    )
    assert (
        answers(scripted, tool_choice=NAMED, **fields)
        == [Message(None, "", [("weather", "")], "length")] * 2
    )
    auto = answers(scripted, tool_choice="auto", **fields)
    assert [(m.calls, m.finish_reason) for m in auto] == [([], "length")] * 2
    assert all(m.content and SOUGHT.startswith(m.content) for m in auto)


@pytest.mark.parametrize("keep_stop", [False, True])
def test_a_stop_string_in_a_call_does_not_make_it_whole(
    scripted: LiveServer, say: Say, keep_stop: bool
) -> None:
    say(CALL)
    fields = {"stop": ["öln"], "include_stop_str_in_output": keep_stop}
    for stream in (False, True):
        found = answers(scripted, stream=stream, **fields)
        arguments = '{"city": "K' + ("öln" if keep_stop else "")
        assert found == [Message(None, "", [("weather", arguments)], "stop")] * 2


@pytest.mark.parametrize(
    "text",
    [
        *(CALL, OTHER, SOUGHT, f"Look.\n{CALL}\n\n{SOUGHT}", "", "Rain.\n", "\n", "<tool_call>"),
        *("<tool_call>\n{}\n</tool_call>", f"<think>a</think>\n\n{CALL}", "<think>a"),
        f"<think></tool_call></think>{OTHER}\n Done",
    ],
)
@pytest.mark.parametrize("fields", [{}, {"tools": []}])
def test_a_stream_says_what_the_whole_answer_says(
    scripted: LiveServer, say: Say, text: str, fields: dict[str, Any]
) -> None:
    say(text)
    whole = answers(scripted, stream=False, separate_reasoning=True, **fields)
    assert answers(scripted, stream=True, separate_reasoning=True, **fields) == whole
    assert whole[0] == whole[1]
