"""Log-probabilities in the forms of the two endpoints."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from stagegate.server.openai.responses import ChatTokenLogprob, CompletionLogprobs, TopLogprob

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stagegate.outputs import TokenLogprobs
    from stagegate.text.tokenizer import Tokenizer

# JSON has no infinity; this is what OpenAI writes for a token that cannot come.
_LEAST = -9999.0

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


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
        self._text = _TextLength()

    def echo(
        self, token_ids: Sequence[int], entries: Sequence[TokenLogprobs | None]
    ) -> CompletionLogprobs:
        """Of a prompt, every token of which is part of the text; the first has no probability."""
        lists = self._lists(token_ids, entries, skip_special_tokens=False)
        self._text.end()
        return lists

    def write(self, entries: Sequence[TokenLogprobs]) -> CompletionLogprobs:
        """Of generated tokens."""
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
        """The most likely tokens, and the one that came; of equal texts the most likely."""
        top: dict[str, float] = {}
        for token_id, logprob in (*entry.top, (entry.token_id, entry.logprob)):
            top.setdefault(token_text(self._tokenizer, token_id), max(logprob, _LEAST))
        return top


class _TextLength:
    """How many characters the bytes of tokens make, and in which each begins."""

    def __init__(self) -> None:
        self._decoder = _Utf8Decoder(errors="replace")
        self._length = 0

    def add(self, content: bytes) -> int:
        """The character that the bytes begin in: that of the bytes before, where they continue it.

        What they leave unfinished has become U+FFFD when they begin with another.
        """
        begin = self._length
        unfinished = bool(self._decoder.getstate()[0])
        first = self._decoder.decode(content[:1])
        if unfinished and content:
            continues = content[0] & 0xC0 == 0x80 and len(first) < 2
            begin += not continues
        self._length += len(first) + len(self._decoder.decode(content[1:]))
        return begin

    def end(self) -> None:
        """The text ends here, and another follows."""
        self._length += len(self._decoder.decode(b"", final=True))
        self._decoder.reset()
