"""Whether a text fits a form, token by token, with a tokenizer of single bytes and tags."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from stagegate.structured.guidance import Guidance
from stagegate.structured.guide import Guide, GuideMaker
from stagegate.text.tokenizer import Tokenizer

TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
PIECES = ('{"', '": ', '":', "\n\n", "}\n", '"}\n', " {", "},", "    ", "\t\t", ">\n\n")


def byte_tokenizer(added: Mapping[str, bool]) -> Tokenizer:
    """A token for each byte, some that JSON spans, and those added; the value: special or not."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(alphabet)}
    merges = []
    for piece in PIECES:
        [(letters, _)] = byte_level.pre_tokenize_str(piece)
        for length in range(2, len(letters) + 1):
            if letters[:length] not in vocabulary:
                vocabulary[letters[:length]] = len(vocabulary)
                merges.append((letters[: length - 1], letters[length - 1]))
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = byte_level
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken("<|end|>", special=True, normalized=False)])
    backend.add_tokens(
        [AddedToken(text, special=special, normalized=False) for text, special in added.items()]
    )
    return Tokenizer(backend)


class FormReader:
    """Reads texts with one tokenizer.

    tags: whether those of reasoning and calls are special tokens; None: they are no tokens.
    ends: whether the model knows a token that ends a text.
    """

    def __init__(self, *, tags: bool | None = False, ends: bool = True) -> None:
        added = {} if tags is None else dict.fromkeys(TAGS, tags)
        self.tokenizer = byte_tokenizer(added)
        [self.end] = self.tokenizer.encode("<|end|>")
        self.maker = GuideMaker(
            self.tokenizer, self.tokenizer.vocab_size, [self.end] if ends else []
        )

    def read(self, guidance: Guidance, text: str, **settings: bool) -> Guide | None:
        """The guide behind the text; None where the form refuses one of its tokens."""
        guide = self.maker.make(guidance, **settings)
        for token_id in self.tokenizer.encode(text, add_special_tokens=False):
            if not may_come(guide, token_id):
                return None
            guide.accept(token_id)
            assert guide.error is None
        return guide


def may_come(guide: Guide, token_id: int) -> bool:
    word = int(guide.allowed.view(np.uint32)[token_id // 32])
    return bool(word >> (token_id % 32) & 1)


@lru_cache
def reader(tags: bool | None = False) -> FormReader:
    return FormReader(tags=tags)


def fits(guidance: Guidance, text: str, tags: bool | None = False) -> bool:
    """Whether the text fits the form, and may end."""
    guide = reader(tags).read(guidance, text)
    return guide is not None and (guide.finished or may_come(guide, reader(tags).end))


def begins(guidance: Guidance, text: str, tags: bool | None = False) -> bool:
    """Whether a text that fits the form may begin like that."""
    return reader(tags).read(guidance, text) is not None
