"""Log-probabilities in the forms of the two endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.detokenizer import Detokenizer
from engine.server.responses import ChatTokenLogprob, CompletionLogprobs, TopLogprob

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from engine.outputs import TokenLogprobs
    from engine.tokenizer import Tokenizer

# JSON has no infinity; this is what OpenAI writes for a token that cannot come.
_LEAST = -9999.0


def token_text(tokenizer: Tokenizer, token_id: int) -> str:
    """A token as text; one that is part of a character as "bytes:" and its bytes in hexadecimal."""
    content = tokenizer.token_bytes(token_id)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)


def chat_logprobs(tokenizer: Tokenizer, entries: Iterable[TokenLogprobs]) -> list[ChatTokenLogprob]:
    return [
        ChatTokenLogprob(
            token=token_text(tokenizer, entry.token_id),
            logprob=max(entry.logprob, _LEAST),
            bytes=list(tokenizer.token_bytes(entry.token_id)),
            top_logprobs=[
                TopLogprob(
                    token=token_text(tokenizer, token_id),
                    logprob=max(logprob, _LEAST),
                    bytes=list(tokenizer.token_bytes(token_id)),
                )
                for token_id, logprob in entry.top
            ],
        )
        for entry in entries
    ]


class CompletionLogprobsWriter:
    """Lists of tokens with their offsets in the text of one choice, which comes in pieces."""

    def __init__(self, tokenizer: Tokenizer, *, skip_special_tokens: bool) -> None:
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._text = Detokenizer(tokenizer, skip_special_tokens=skip_special_tokens)
        self._offset = 0

    def echo(
        self, token_ids: Sequence[int], entries: Sequence[TokenLogprobs | None]
    ) -> CompletionLogprobs:
        """Of a prompt, every token of which is part of the text; the first has no probability."""
        text = Detokenizer(self._tokenizer, skip_special_tokens=False)
        lists = self._lists(text, token_ids, entries)
        self._offset += len(text.flush())
        return lists

    def write(self, entries: Sequence[TokenLogprobs]) -> CompletionLogprobs:
        """Of generated tokens."""
        return self._lists(self._text, [entry.token_id for entry in entries], entries)

    def _lists(
        self,
        text: Detokenizer,
        token_ids: Sequence[int],
        entries: Sequence[TokenLogprobs | None],
    ) -> CompletionLogprobs:
        lists = CompletionLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
        for token_id, entry in zip(token_ids, entries, strict=True):
            lists.tokens.append(token_text(self._tokenizer, token_id))
            lists.token_logprobs.append(None if entry is None else max(entry.logprob, _LEAST))
            lists.top_logprobs.append(None if entry is None else self._top(entry))
            lists.text_offset.append(self._offset)
            self._offset += len(text.push(token_id))
        return lists

    def _top(self, entry: TokenLogprobs) -> dict[str, float]:
        """The most likely tokens, and the one that came."""
        top = {
            token_text(self._tokenizer, token_id): max(logprob, _LEAST)
            for token_id, logprob in entry.top
        }
        top.setdefault(token_text(self._tokenizer, entry.token_id), max(entry.logprob, _LEAST))
        return top
