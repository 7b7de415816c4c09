"""The two endpoints: fields of a body, and the place of the text in a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from suites.online.load.workload import Conversation


class Endpoint(StrEnum):
    CHAT = "chat"
    COMPLETIONS = "completions"

    @property
    def path(self) -> str:
        return "/chat/completions" if self is Endpoint.CHAT else "/completions"

    def prompt(self, conversation: Conversation, answers: Sequence[str]) -> dict[str, Any]:
        """The fields of a request for the turn after those already answered.

        A shared prefix is the system message of a chat, and the beginning of a completion's text.
        """
        asked = conversation.turns[: len(answers) + 1]
        if self is Endpoint.COMPLETIONS:
            said = [turn.text + answer for turn, answer in zip(asked, [*answers, ""], strict=True)]
            return {"prompt": conversation.prefix + "".join(said)}
        messages = []
        if conversation.prefix:
            messages.append({"role": "system", "content": conversation.prefix})
        for turn, answer in zip(asked, [*answers, None], strict=True):
            messages.append({"role": "user", "content": turn.text})
            if answer is not None:
                messages.append({"role": "assistant", "content": answer})
        return {"messages": messages}

    def pieces(self, choice: dict[str, Any]) -> tuple[str, bool]:
        """Text of the answer, and whether the chunk contains anything generated.

        Reasoning and tool calls are generated too, but a next turn does not repeat them.
        """
        if self is Endpoint.COMPLETIONS:
            text = choice.get("text") or ""
            return text, bool(text)
        delta = choice.get("delta") or {}
        text = delta.get("content") or ""
        generated = text or delta.get("reasoning_content") or delta.get("reasoning")
        return text, bool(generated or delta.get("tool_calls"))
