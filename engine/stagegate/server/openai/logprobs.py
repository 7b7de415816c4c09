"""Log-probabilities in the formats of the two endpoints."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from stagegate.server.openai.responses import ChatTokenLogprob, CompletionLogprobs, TopLogprob

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stagegate.outputs import TokenLogprobs
    from stagegate.text.tokenizer import Tokenizer

# JSON has no infinity; OpenAI writes this value for a token with probability zero.
_LEAST = -9999.0

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


def token_text(tokenizer: Tokenizer, token_id: int) -> str:
    """A token as text; a part of a character as "bytes:" and its bytes in hexadecimal."""
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
    """Token lists with offsets in the text of one choice, which arrives in pieces."""

    def __init__(self, tokenizer: Tokenizer, *, skip_special_tokens: bool) -> None:
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._text = _TextLength()

    def echo(
        self, token_ids: Sequence[int], entries: Sequence[TokenLogprobs | None]
    ) -> CompletionLogprobs:
        """Prompt logprobs. Every prompt token is part of the text; the first has no probability."""
        lists = self._lists(token_ids, entries, skip_special_tokens=False)
        self._text.end()
        return lists

    def write(self, entries: Sequence[TokenLogprobs]) -> CompletionLogprobs:
        """Logprobs of generated tokens."""
        token_ids = [entry.token_id for entry in entries]
        return self._lists(token_ids, entries, skip_special_tokens=self._skip_special_tokens)

    def _lists(
        self,
        token_ids: Sequence[int],
        entries: Sequence[TokenLogprobs | None],
        *,
        skip_special_tokens: bool,
    ) -> CompletionLogprobs:
        lists = CompletionLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
        for token_id, entry in zip(token_ids, entries, strict=True):
            lists.tokens.append(token_text(self._tokenizer, token_id))
            lists.token_logprobs.append(None if entry is None else max(entry.logprob, _LEAST))
            lists.top_logprobs.append(None if entry is None else self._top(entry))
            skipped = skip_special_tokens and self._tokenizer.is_special(token_id)
            content = b"" if skipped else self._tokenizer.token_bytes(token_id)
            lists.text_offset.append(self._text.add(content))
        return lists

    def _top(self, entry: TokenLogprobs) -> dict[str, float]:
        """The most likely tokens and the sampled one; of equal texts the most likely."""
        top: dict[str, float] = {}
        for token_id, logprob in (*entry.top, (entry.token_id, entry.logprob)):
            top.setdefault(token_text(self._tokenizer, token_id), max(logprob, _LEAST))
        return top


class _TextLength:
    """Counts the characters in the bytes of tokens, and finds the character each begins in."""

    def __init__(self) -> None:
        self._decoder = _Utf8Decoder(errors="replace")
        self._length = 0

    def add(self, content: bytes) -> int:
        """The character in which the bytes begin; they may continue the previous character.

        If they begin a new one, an unfinished character before them has become U+FFFD.
        """
        begin = self._length
        # The decoder also keeps bytes that no byte can complete, such as those of a surrogate.
        pending = self._decoder.getstate()[0]
        if pending and content:
            whole = len(pending.decode(errors="replace"))
            continues = len((pending + content[:1]).decode(errors="replace")) == whole
            begin += whole - continues
        self._length += len(self._decoder.decode(content))
        return begin

    def end(self) -> None:
        """End the text; another one follows."""
        self._length += len(self._decoder.decode(b"", final=True))
        self._decoder.reset()
