"""Matching of texts against grammars, token by token, with a tokenizer of single bytes and tags."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from stagegate.structured.grammar import Grammar
from stagegate.structured.grammar_matcher import GrammarCompiler, GrammarMatcher
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


class GrammarReader:
    """Reads texts with one tokenizer.

    tags: whether those of reasoning and calls are special tokens; None: they are no tokens.
    ends: whether the model knows a token that ends a text.
    """

    def __init__(self, *, tags: bool | None = False, ends: bool = True) -> None:
        added = {} if tags is None else dict.fromkeys(TAGS, tags)
        self.tokenizer = byte_tokenizer(added)
        [self.end] = self.tokenizer.encode("<|end|>")
        self.compiler = GrammarCompiler(
            self.tokenizer, self.tokenizer.vocab_size, [self.end] if ends else []
        )

    def read(self, grammar: Grammar, text: str, **settings: bool) -> GrammarMatcher | None:
        """The matcher after the text; None if the grammar refuses one of its tokens."""
        matcher = self.compiler.matcher(grammar, **settings)
        for token_id in self.tokenizer.encode(text, add_special_tokens=False):
            if not may_come(matcher, token_id):
                return None
            matcher.accept(token_id)
            assert matcher.error is None
        return matcher


def may_come(matcher: GrammarMatcher, token_id: int) -> bool:
    word = int(matcher.allowed.view(np.uint32)[token_id // 32])
    return bool(word >> (token_id % 32) & 1)


@lru_cache
def reader(tags: bool | None = False) -> GrammarReader:
    return GrammarReader(tags=tags)


def fits(grammar: Grammar, text: str, tags: bool | None = False) -> bool:
    """Whether the text matches the grammar and may end."""
    matcher = reader(tags).read(grammar, text)
    return matcher is not None and (matcher.finished or may_come(matcher, reader(tags).end))


def begins(grammar: Grammar, text: str, tags: bool | None = False) -> bool:
    """Whether a text that matches the grammar may begin with this one."""
    return reader(tags).read(grammar, text) is not None
