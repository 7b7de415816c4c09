"""Text of a given length in tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stagegate.text.tokenizer import Tokenizer
from suites.online.load.errors import LoadError

_WORD = re.compile(rb" [A-Za-z]{2,}")

# Frequent words: nearly every tokenizer has each, with its space, as one token.
_FREQUENT = (
    "the of and to in is that it was for on are with as his they be at one have this from or had "
    "by hot but some what there we can out other were all your when up use word how said an each "
    "she which do their time if will way about many then them would write like so these her long "
    "make thing see him two has look more day could go come did my sound no most number who over "
    "know water than call first people may down side been now find any new work part take get "
    "place made live where after back little only round man year came show every good me give our "
    "under name very through just form much great think say help low line before turn cause same "
    "mean move right boy old too does tell set three want air well also play small end put home "
    "read hand large add even land here must big high such follow act why ask men change went "
    "light kind off need house picture try us again animal point mother world near build self "
    "earth father head stand own page should country found answer school grow study still learn"
)


class Words:
    """Words of which each, with the space before it, is one token of the model.

    Raises LoadError where there is none.
    """

    def __init__(self, words: Sequence[str]) -> None:
        if not words:
            msg = "no words to make prompts of"
            raise LoadError(msg)
        self._words = tuple(words)

    @classmethod
    def of_checkpoint(cls, folder: Path) -> Words:
        """English letters after a space, from the vocabulary. Raises TokenizerError, LoadError."""
        tokenizer = Tokenizer.load(folder)
        tokens = map(tokenizer.token_bytes, range(tokenizer.vocab_size))
        found = [token[1:].decode("ascii") for token in tokens if _WORD.fullmatch(token)]
        if not found:
            msg = f"{folder}: the vocabulary has no word with a space before it"
            raise LoadError(msg)
        return cls(found)

    @classmethod
    def english(cls) -> Words:
        """For a server with an unknown tokenizer; lengths are approximate."""
        return cls(_FREQUENT.split())

    def text(self, rng: np.random.Generator, tokens: int) -> str:
        """Random words with replacement; begins with a space, so texts can be concatenated."""
        return "".join(f" {self._words[i]}" for i in rng.integers(len(self._words), size=tokens))
